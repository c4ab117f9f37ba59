"""Comparison tables: numbers, ranks, holes, groups, and the four forms."""

import csv
import io

from smartad.tables import RunCells, as_csv, build, caption, latex, markdown
from smartad.types import Cell

GROUPS = {"In-domain": ["math"], "Out-of-domain": ["qa_3"]}


def run(row, math, qa, n=10, ungraded=0):
    return RunCells({"math": Cell("math", math, n, 0, f"grade-{row}-m{math}"),
                     "qa_3": Cell("qa_3", qa, n, ungraded, f"grade-{row}-q{qa}")})


def test_table_entry_is_the_mean_over_seeds_with_its_standard_deviation():
    table = build("t", GROUPS, {"a": [run("a", 4, 2), run("b", 6, 3)]})
    entry = table.rows["a"]["math"]
    assert (entry.percent, round(entry.sd, 3), entry.n, entry.runs) == (50.0, 14.142, "10", 2)
    assert table.rows["a"]["Avg"].percent == (40 + 20 + 60 + 30) / 4
    assert round(table.rows["a"]["Avg"].sd, 3) == round(((30 - 37.5) ** 2 + (45 - 37.5) ** 2) ** 0.5, 3)


def test_equal_runs_of_several_seeds_count_once():
    table = build("t", GROUPS, {"base": [run("base", 1, 0)] * 2})
    assert (table.rows["base"]["math"].runs, table.rows["base"]["math"].sd, table.rows["base"]["Avg"].sd) == (1, None, None)


def test_best_and_second_are_marked_and_ties_share_a_mark():
    table = build("t", GROUPS, {"a": [run("a", 9, 1)], "b": [run("b", 9, 2)], "c": [run("c", 5, 3)]})
    assert [table.rows[r]["math"].rank for r in "abc"] == ["best", "best", "second"]
    assert [table.rows[r]["qa_3"].rank for r in "abc"] == ["", "second", "best"]


def test_unfinished_row_has_holes_and_no_average_and_never_a_zero():
    done = run("a", 9, 1)
    half = RunCells({"math": done.cells["math"]}, "unfinished")
    table = build("t", GROUPS, {"a": [done], "half": [half], "none": [RunCells({}, "failed")], "new": [RunCells({})]})
    assert [table.text("half", c) for c in table.columns] == ["90.0", "unfinished", "unfinished", "unfinished"]
    assert [table.text("none", c) for c in table.columns] == ["failed"] * 4
    assert [table.text("new", c) for c in table.columns] == ["–"] * 4


def test_nothing_graded_is_ungraded_and_not_zero():
    run = RunCells({"math": Cell("math", 0, 0, 10, "g"), "qa_3": Cell("qa_3", 0, 10, 0, "h")})
    table = build("t", GROUPS, {"a": [run]})
    assert [table.text("a", c) for c in table.columns] == ["[10 ungraded]", "0.0", "–", "–"]


def test_n_is_in_the_header_when_shared_and_in_the_cell_when_not():
    shared = build("t", GROUPS, {"a": [run("a", 1, 1)], "b": [run("b", 2, 2)]})
    assert "math (n=10)" in markdown(shared)
    mixed = build("t", GROUPS, {"a": [run("a", 1, 1)], "b": [run("b", 2, 2, n=20)]})
    assert "math (n" not in markdown(mixed) and "10.0 (n=20)" in markdown(mixed)


def test_ungraded_attempts_stand_beside_the_number():
    assert "20.0 [3 ungraded]" in markdown(build("t", GROUPS, {"a": [run("a", 1, 2, ungraded=3)]}))


def test_markdown_marks_ranks_groups_and_escapes():
    text = markdown(build("t", GROUPS, {"a|b": [run("a", 9, 1)], "c": [run("c", 5, 3)]}))
    assert "| a\\|b | **90.0** | <u>10.0</u> | **50.0** | **50.0** |" in text
    assert "In-domain<br>math (n=10)" in text and "Out-of-domain<br>qa_3 (n=10)" in text


def test_latex_has_group_headers_rules_and_escapes():
    text = latex(build("t_1", GROUPS, {"a & b_c": [run("a", 9, 1)], "d": [run("d", 5, 3)]}))
    assert r"\multicolumn{1}{c}{In-domain} & \multicolumn{1}{c}{Out-of-domain} &  &  \\" in text
    assert r"a \& b\_c & \textbf{90.0} & \underline{10.0} & \textbf{50.0} & \textbf{50.0} \\" in text
    assert r"\cmidrule(lr){2-2} \cmidrule(lr){3-3}" in text and r"qa\_3 (n=10)" in text
    assert text.count("{") == text.count("}")


def test_csv_has_a_line_per_cell_and_empty_fields_for_holes():
    rows = {"a": [run("a", 9, 1), RunCells({}, "failed")]}
    lines = list(csv.DictReader(io.StringIO(as_csv(build("t", GROUPS, rows), rows, [0, 1]))))
    assert len(lines) == 4
    assert [lines[0][k] for k in ("seed", "benchmark", "correct", "n", "pass@1")] == ["0", "math", "9", "10", "90.0000"]
    assert (lines[2]["pass@1"], lines[2]["note"]) == ("", "failed")


def test_caption_names_seeds_only_when_there_are_several():
    assert "seeds" not in caption(build("t", GROUPS, {"a": [run("a", 1, 1)]}))
    assert "mean ± sd over 2 seeds" in caption(build("t", GROUPS, {"a": [run("a", 1, 1), run("b", 2, 2)]}))
