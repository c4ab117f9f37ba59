"""Comparison tables: numbers, ranks, holes, groups, sizes, and the five forms."""

import csv
import dataclasses
import io
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from smartad.cli.tabling import print_table
from smartad.stats import wilson
from smartad.tables import Printed, RunCells, as_csv, build, caption, html, latex, markdown, page
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


def test_place_that_ungraded_attempts_could_change_is_not_given():
    def ranks(*rows):
        table = build("t", GROUPS, {str(at): [RunCells({"math": Cell("math", right, n, ungraded, f"g{at}"),
                                                        "qa_3": Cell("qa_3", 1, 10, 0, f"h{at}")})]
                                    for at, (right, n, ungraded) in enumerate(rows)})
        assert ("that ungraded attempts could change" in caption(table)) == any(ungraded for _, _, ungraded in rows)
        return [[entries[column].rank for entries in table.rows.values()] for column in ("math", "Avg", "Micro")]

    assert ranks((1, 1, 19), (15, 20, 0)) == [["", ""]] * 3
    assert ranks((16, 19, 1), (15, 20, 0), (15, 20, 0)) == [["best", "second", "second"]] * 3
    assert ranks((14, 18, 2), (15, 20, 0), (5, 20, 0)) == [["", "", ""]] * 3
    assert ranks((15, 19, 1), (15, 20, 0), (19, 20, 0)) == [["second", "", "best"]] * 3


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
    rows = {"a": [run("a", 9, 1), RunCells({}, "failed")], "one seed": [run("b", 8, 1)]}
    table = build("t", GROUPS, {**rows, "of the layout": [RunCells({})]})
    lines = list(csv.DictReader(io.StringIO(as_csv(table, rows, {"a": [0, 1], "one seed": [3]}))))
    assert [line["seed"] for line in lines[::2]] == ["0", "1", "3", ""]
    assert [line["note"] for line in lines] == ["", "", "failed", "failed", "", "", "not measured", "not measured"]
    assert [lines[0][k] for k in ("seed", "benchmark", "correct", "n", "pass@1")] == ["0", "math", "9", "10", "90.0000"]
    assert (lines[2]["pass@1"], lines[2]["note"]) == ("", "failed")


def test_caption_names_seeds_only_when_there_are_several():
    assert "seeds" not in caption(build("t", GROUPS, {"a": [run("a", 1, 1)]}))
    assert "mean ± sd over 2 seeds" in caption(build("t", GROUPS, {"a": [run("a", 1, 1), run("b", 2, 2)]}))


def test_micro_average_weighs_questions_and_macro_benchmarks():
    small, large = Cell("math", 9, 10, 0, "g"), Cell("qa_3", 30, 300, 0, "h")
    row = build("t", GROUPS, {"a": [RunCells({"math": small, "qa_3": large})]}).rows["a"]
    assert (row["Avg"].percent, row["Micro"].percent) == (50.0, 100 * 39 / 310)
    assert row["Micro"].interval == pytest.approx(wilson(39, 310)) and row["Avg"].interval is None


def test_micro_average_of_several_samples_weighs_questions_alike():
    """Of the first benchmark, two questions: one right in 1 of 1 graded attempts, one in 1 of 4."""
    several = Cell("math", 2, 5, 3, "g", questions=2, mean=62.5)
    row = build("t", GROUPS, {"a": [RunCells({"math": several, "qa_3": Cell("qa_3", 0, 2, 0, "h")})]}).rows["a"]
    assert (row["Micro"].percent, row["Micro"].draws) == (100 * 1.25 / 4, (1.25, 4))


def test_table_of_one_benchmark_has_no_micro_average():
    assert build("t", {"": ["math"]}, {"a": [run("a", 1, 1)]}).columns == ["math", "Avg"]


def test_interval_of_seeds_counts_a_question_once():
    """Three seeds on the same ten questions say no more of other questions than one does."""
    entry = build("t", GROUPS, {"a": [run("a", 4, 0), run("b", 5, 0), run("c", 6, 0)]}).rows["a"]["math"]
    assert entry.interval == pytest.approx(wilson(5, 10))


def test_number_that_lacks_seeds_says_so_and_is_not_ranked():
    done, lacking = [run("a", 4, 2), run("b", 6, 3)], [run("c", 9, 9), RunCells({}, "unfinished"), RunCells({})]
    table = build("t", GROUPS, {"done": done, "lacking": lacking, "other": [run("d", 1, 1)] * 2})
    assert table.text("lacking", "math") == "90.0 (1 of 3 seeds)" and table.text("lacking", "Avg") == "90.0 (1 of 3 seeds)"
    assert table.text("lacking", "Micro") == "90.0 (1 of 3 seeds)"
    assert [table.rows[row]["math"].rank for row in table.rows] == ["best", "", "second"]
    assert "over 3 seeds" in caption(table) and "What lacks seeds is not ranked." in caption(table)
    assert "90.0 (1 of 3 seeds)" in markdown(table) and "1 of 3 seeds" in html(table)


def test_word_beside_an_average_is_about_the_seeds_that_it_is_of():
    """Without the third seed, which has no average, ours is 25.0 of 40 questions."""
    runs = [run("a", 4, 6, n=20), RunCells({"math": Cell("math", 20, 20, 0, "g")}, "unfinished"), run("b", 6, 4, n=20)]
    table = build("t", GROUPS, {"a": runs})
    assert table.text("a", "Avg") == "25.0 ±0.0 (2 of 3 seeds)"
    for printed, word in (("25.0", "inside"), ("45.0", "outside")):
        beside = dataclasses.replace(table, printed={("a", "Avg"): Printed(printed, ((5, 20), (5, 20)))})
        assert beside.lines("a", "Avg")[1].endswith(word)


def test_finished_cells_of_an_unfinished_run_give_no_average():
    half = RunCells(run("a", 4, 2).cells, "unfinished")
    table = build("t", GROUPS, {"half": [half], "one of two": [half, run("b", 6, 3)]})
    assert [table.text("half", c) for c in table.columns] == ["40.0", "20.0", "unfinished", "unfinished"]
    assert [table.text("one of two", c) for c in table.columns] == ["50.0 ±14.1", "25.0 ±7.1", "45.0 (1 of 2 seeds)",
                                                                    "45.0 (1 of 2 seeds)"]


def test_rows_of_one_size_are_put_together_and_the_size_is_named():
    sizes = {"a": "1.5B", "b": "3B", "c": "1.5B"}
    table = build("t", GROUPS, {name: [run(name, right, 1)] for name, right in (("a", 5), ("b", 9), ("c", 6))}, sizes)
    assert list(table.rows) == ["a", "c", "b"] and table.blocks() == {"1.5B": ["a", "c"], "3B": ["b"]}
    assert [table.rows[row]["math"].rank for row in "acb"] == ["second", "best", ""]
    assert [line.split(" & ")[:2] for line in latex(table).splitlines() if line.count("&") == 5][1:] == [
        ["Student", "Method"], ["1.5B", "a"], ["", "c"], ["3B", "b"]]
    assert latex(table).count(r"\midrule") == 2 and html(table).count("<tbody>") == 2
    assert "of each size" in caption(table)


@settings(deadline=None)  # of a busy machine; the first example may load statsmodels
@given(st.lists(st.tuples(st.sampled_from(["1.5B", "3B", ""]), st.integers(0, 8)), min_size=1, max_size=12))
def test_ranks_are_those_of_a_reference_that_counts_who_is_better(rows):
    """Best is who has nobody above among those of the size, second who has one number above; alone, nobody is."""
    labels = [str(number) for number in range(len(rows))]
    table = build("t", {"": ["math"]}, {label: [RunCells({"math": Cell("math", right, 8, 0, label)})]
                                        for label, (_, right) in zip(labels, rows, strict=True)},
                  {label: size for label, (size, _) in zip(labels, rows, strict=True)})
    for label, (size, right) in zip(labels, rows, strict=True):
        rivals = [other for its_size, other in rows if its_size == size]
        above = len({other for other in rivals if other > right})
        expected = "" if len(rivals) == 1 else {0: "best", 1: "second"}.get(above, "")
        assert table.rows[label]["math"].rank == expected


def test_transposed_table_has_benchmarks_as_rows_and_the_same_numbers():
    table = build("t", GROUPS, {"a": [run("a", 9, 1)], "c": [run("c", 5, 3)]})
    text = markdown(dataclasses.replace(table, transposed=True, names={"math": "MATH"}))
    assert text.splitlines()[:6] == ["| Benchmark | a | c |", "| --- | ---: | ---: |", "| MATH (n=10) | **90.0** | <u>50.0</u> |",
                                     "| qa_3 (n=10) | <u>10.0</u> | **30.0** |", "| Avg | **50.0** | <u>40.0</u> |",
                                     "| Micro | **50.0** | <u>40.0</u> |"]


def test_interval_stands_in_every_cell_that_has_one_when_asked_for():
    table = dataclasses.replace(build("t", GROUPS, {"a": [run("a", 5, 1)]}), intervals=True)
    low, high = wilson(5, 10)
    assert table.lines("a", "math") == ["50.0", f"({low:.1f}–{high:.1f})"] and table.lines("a", "Avg") == ["30.0"]
    assert f"50.0<br>({low:.1f}–{high:.1f})" in markdown(table) \
        and rf"\shortstack[r]{{50.0 \\ \scriptsize ({low:.1f}--{high:.1f})}}" in latex(table)


def test_csv_has_size_and_interval():
    rows = {"a": [run("a", 9, 1)]}
    line = next(csv.DictReader(io.StringIO(as_csv(build("t", GROUPS, rows, {"a": "3B"}), rows, {"a": [0]}))))
    low, high = wilson(9, 10)
    assert (line["size"], line["low"], line["high"]) == ("3B", f"{low:.4f}", f"{high:.4f}")


class Texts(HTMLParser):
    """What a browser would read: every element's text, and every title."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.titles, self.tags = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.titles += [value for name, value in attrs if name == "title"]

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data)


HOSTILE = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.sampled_from(" <>&\"'\\{}_^~#%$|*-[]`"),
                  min_size=1).map(lambda text: " ".join(text.split())).filter(bool)


@settings(deadline=None)  # of a busy machine; the first example may load statsmodels
@given(HOSTILE, HOSTILE, HOSTILE)
def test_html_read_back_has_the_same_texts_whatever_they_are(label, benchmark, title):
    cell = Cell(benchmark, 1, 4, 0, "grade-1", grader=title)
    read = Texts(page(build(title, {"": [benchmark]}, {label: [RunCells({benchmark: cell})]})))
    assert label in read.texts and f"{benchmark} (n=4)" in read.texts and title in read.texts
    assert set(read.tags) == {"html", "meta", "title", "style", "div", "table", "caption", "thead", "tbody", "tr", "th", "td",
                              "span"}
    assert any(title in about and "grade-1" in about for about in read.titles)


def test_page_needs_no_network_and_runs_nothing():
    text = page(build("t", GROUPS, {"a": [run("a", 1, 1)]}))
    assert not re.search(r"<script|https?:|@import|url\(", text) and 'name="viewport"' in text


READ = {r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
        r"\textgreater{}": ">", r"\textbar{}": "|", "{[}": "[", "{]}": "]", "{*}": "*", "-{}-": "--", r"$\pm$": "±",
        **{rf"\{c}": c for c in "&%$#_{}"}}


def typeset(tex):
    """What LaTeX would print of a cell: a reader of its own, which knows commands and not what they are made from."""
    out = ""
    while tex:
        command = next((known for known in sorted(READ, key=len, reverse=True) if tex.startswith(known)), None)
        if command is None:
            assert tex[0] not in "\\&%$#_{}~^<>|[]*", f"a bare {tex[0]} in {tex!r}"
            assert not tex.startswith("--"), "two hyphens are a dash"
            command, char = tex[0], tex[0]
        else:
            char = READ[command]
        if command == "-{}-":
            command, char = "-{}", "-"
        out, tex = out + char, tex[len(command):]
    return out


@settings(deadline=None)  # of a busy machine; the first example may load statsmodels
@given(HOSTILE.filter(lambda text: not set(text) & set("±–")))
def test_latex_typeset_has_the_same_texts_whatever_they_are(label):
    text = latex(build("t", {"": ["math"]}, {label: [run("a", 1, 1)]}))
    line = next(line for line in text.splitlines() if line.endswith(r" & 10.0 & 10.0 \\"))
    assert typeset(line.removesuffix(r" & 10.0 & 10.0 \\")) == label


def rendered(text):
    """What a reader of Markdown sees."""
    return Texts(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))


@settings(deadline=None)  # of a busy machine; the first example may load statsmodels
@given(HOSTILE, HOSTILE)
@example("[l](http://e)", "[l][l] and [l]: http://e")
@example("![i](http://e/x.png)", "_a_ __b__ ~~c~~ `d` &amp; &#36; <e>")
def test_markdown_rendered_has_the_same_texts_and_no_markup_whatever_they_are(label, grader):
    rows = {label: [RunCells({"math": Cell("math", 1, 4, 0, "g", grader=grader)})]}
    read = rendered(markdown(build("t", {"": ["math"]}, rows)))
    assert label in read.texts and f"Graded by {grader}." in " ".join(read.texts)
    assert set(read.tags) == {"table", "thead", "tbody", "tr", "th", "td", "p"}


@pytest.mark.parametrize("label", ["agent_distill", "+ NLL selection", "SmartAD (K = 5) [no SAG]", "a & b!", "select.first=1"])
def test_ordinary_label_is_written_as_it_is(label):
    rows = {label: [run("a", 1, 1)]}
    table = build("t", GROUPS, rows)
    assert f"| {label} | 10.0 |" in markdown(table)
    assert as_csv(table, rows, {label: [0]}).splitlines()[1].startswith(f"{label},0,")


def test_mathematics_is_escaped_for_github():
    assert r"| \$x\$ | 10.0 |" in markdown(build("t", GROUPS, {"$x$": [run("a", 1, 1)]}))


def test_control_characters_of_a_label_are_written_as_text_in_every_form():
    label = "a\x1b]0;title\x07\x1b[31mb\u202ec"
    rows = {label: [run("a", 1, 1)]}
    table = dataclasses.replace(build("t", GROUPS, rows), remarks=[label])
    out = io.StringIO()
    print_table(table, Console(file=out, width=200, force_terminal=True, color_system=None))
    for text in (markdown(table), latex(table), page(table), as_csv(table, rows, {label: [0]}), out.getvalue()):
        assert "x1b" in text and "u202e" in text and not set(text) & {"\x1b", "\x07", "\u202e"}


@pytest.mark.parametrize("label", ["=1+1", "\t=1", "@SUM(A1)", "-2+3+cmd|' /C calc'!A0", "+WEBSERVICE(\"http://e\")"])
def test_csv_label_that_a_spreadsheet_would_run_is_quoted(label):
    rows = {label: [run("a", 1, 1)]}
    line = list(csv.reader(io.StringIO(as_csv(build("t", GROUPS, rows), rows, {label: [0]}))))[1]
    assert line[0] == f"'{label}"


def test_wide_table_is_printed_in_parts_that_fit_and_no_number_is_broken():
    names = [f"benchmark_{number}" for number in range(9)]
    cells = {name: Cell(name, number, 10, 0, f"grade-{number}") for number, name in enumerate(names)}
    out = io.StringIO()
    print_table(build("t", {"In-domain": names[:5], "Out-of-domain": names[5:]}, {"a long name of a row": [RunCells(cells)]}),
                Console(file=out, width=80))
    grid = [line for line in out.getvalue().splitlines() if line and line[0] in "┏┃┡│└"]
    assert max(map(len, grid)) <= 80 and sum(line.startswith("┏") for line in grid) > 1
    numbers = [word for line in grid if "a long name" in line for word in line.replace("│", " ").split()[6:]]
    assert numbers == [f"{number * 10}.0" for number in range(9)] + ["40.0", "40.0"]
