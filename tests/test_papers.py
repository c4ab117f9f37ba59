"""The papers' tables as data: as the papers print them, slips and all, and named as the declared sweeps name their rows."""

import os
import re
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from command import smartad
from conftest import ROOT
from smartad import papers
from smartad.papers import PaperRow, PaperTable
from smartad.papers.slips import KINDS, of, slips
from smartad.sweep.proposers.grid import Grid
from smartad.sweep.space import read
from smartad.tables import AVERAGE
from smartad.types import UserError

OF_ROWS = [name for name in papers.names() if papers.get(name).kind == "accuracy"]
OF_BUCKETS = [name for name in papers.names() if papers.get(name).kind == "buckets"]
SAME = [  # where one adapter is behind two rows: test_declared_sweeps.py tells it from their fingerprints
    *((("smartad_table2", f"{size} {one}"), ("smartad_table3", f"{size} {other}"))
      for size in ("1.5B", "3B") for one, other in (("Agent Distill", "Agent Distillation"), ("SmartAD", "SmartAD"))),
    (("smartad_table2", "1.5B SmartAD"), ("smartad_table5", "SmartAD")),
    (("smartad_table3", "1.5B + NLL Trajectory Selection"), ("smartad_table5", "Uniform")),
    (("smartad_table3", "3B + NLL Trajectory Selection"), ("smartad_table4", "min-NLL")),
    (("smartad_table3", "3B + NLL Trajectory Selection"), ("smartad_table6", "select.first=10")),
    (("smartad_table2", "3B Agent Distill"), ("smartad_table6", "select.first=1")),
    (("predecessor_table2", "1.5B Agent Distill + ftp sag"),
     ("predecessor_table3", "collect.teacher=Qwen/Qwen2.5-32B-Instruct, student=Qwen/Qwen2.5-1.5B-Instruct")),
]


@pytest.fixture(scope="module")
def text_of():
    """A function: the text of the paper that a table is in, with every gap one space.  Skips where the papers are not."""
    folder = Path(os.environ.get("SMARTAD_PAPERS", ROOT.parent / "shared" / "papers"))
    files = {"smartad": folder / "smartad.txt", "predecessor": folder / "agent-distillation.txt"}
    if not all(path.exists() for path in files.values()):
        pytest.skip(f"the papers' texts are not here ({folder}); name their folder in SMARTAD_PAPERS")
    texts = {paper: " ".join(path.read_text(encoding="utf-8").replace("*", "").split()) for paper, path in files.items()}
    return lambda name: texts[name.partition("_table")[0]]


def written(value, like, mode):
    """A fraction with as many decimals as ``like`` has."""
    return (Decimal(value.numerator) / Decimal(value.denominator)).quantize(Decimal(like), mode)


def shares_near(text, n):
    """Percentages of the numbers of questions next to a printed one."""
    below = Fraction(text) * n // 100
    return [Fraction(100 * right, n) for right in (below, below + 1)]


def wrong_averages(name, paper):
    for row in paper.rows if paper.average else ():
        *numbers, average = paper.rows[row].printed.split()
        counts = [Fraction(100 * round(Fraction(text) * paper.n[column] / 100), paper.n[column])
                  for text, column in zip(numbers, paper.columns, strict=False)]
        means = [sum(values) / len(values) for values in (list(map(Fraction, numbers)), counts)]
        if Decimal(average) not in [written(mean, average, ROUND_HALF_UP) for mean in means]:
            yield "average", name, row, AVERAGE, average


def wrong_shares(name, paper):
    for row in paper.rows if paper.n else ():
        for column, text in paper.texts(row).items():
            near = shares_near(text, paper.n[column]) if column in paper.n else ()
            fits = [written(share, text, mode) for share in near for mode in (ROUND_HALF_UP, ROUND_DOWN)]
            if near and Decimal(text) not in fits:
                yield "share", name, row, column, text


def wrong_underlines(name, paper):
    blocks = {}
    for row in paper.rows:
        blocks.setdefault(paper.heads_of(row)[:-1], []).append(row)
    for rows in (block for block in blocks.values() if any(paper.rows[row].underlined for row in block)):
        for column in paper.columns:
            second = sorted({paper.value(row, column) for row in rows})[-2]
            for row in rows:
                if (paper.value(row, column) == second) != (column in paper.rows[row].underlined):
                    yield "underline", name, row, column, paper.texts(row)[column]


def printed_twice():
    for (table, row), (other_table, other_row) in SAME:
        one, other = papers.get(table), papers.get(other_table)
        for column in one.columns:
            if one.value(row, column) != other.value(other_row, column):
                yield "twice", table, row, column, one.texts(row)[column]


def test_listed_slips_are_those_that_the_tables_have():
    computed = [*(slip for name in papers.names() for wrong in (wrong_averages, wrong_shares, wrong_underlines)
                  for slip in wrong(name, papers.get(name))), *printed_twice()]
    listed = [(s.kind, s.table, s.row, s.column, s.printed) for s in slips() if s.kind != "text"]
    assert sorted(listed) == sorted(computed) and len(set(listed)) == len(listed)


def test_slips_say_what_stands_against_them():
    assert {slip.kind for slip in slips()} == set(KINDS)
    for slip in slips():
        paper = papers.get(slip.table)
        assert paper.texts(slip.row)[slip.column] == slip.printed
        if slip.kind == "average":
            *numbers, _ = map(Fraction, paper.rows[slip.row].printed.split())
            assert written(sum(numbers) / len(numbers), slip.printed, ROUND_HALF_UP) == Decimal(slip.found)
        if slip.kind == "share":
            near = [written(share, slip.printed, ROUND_HALF_UP) for share in shares_near(slip.printed, paper.n[slip.column])]
            assert slip.found == " or ".join(map(str, near))
        if slip.against:
            table, row, column = slip.against
            assert papers.get(table).texts(row)[column] in slip.found
            assert slip.kind == "twice" or papers.get(table).value(row, column) > paper.value(slip.row, slip.column)


@pytest.mark.parametrize("name", OF_BUCKETS)
def test_buckets_of_both_ways_hold_the_same_trajectories(name):
    """Their counts add up to the same, and so do their means, as exactly as they are printed."""
    paper = papers.get(name)
    ways = list(paper.groups.values())
    counts = {column: paper.value("N_traj", column) for column in paper.columns}
    assert len({sum(counts[column] for column in way) for way in ways}) == 1
    for row in list(paper.rows)[2:]:
        both = [sum(counts[c] * paper.value(row, c) for c in way) / sum(counts[c] for c in way) for way in ways]
        half_a_digit = 0.5 * 10 ** -len(paper.rows[row].printed.split()[0].partition(".")[2])
        assert both[0] == pytest.approx(both[1], abs=2 * half_a_digit)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_ROWS)
def test_declared_sweep_has_every_row_of_its_printed_table_and_says_so(name):
    paper = papers.get(name)
    sweep = read(str(ROOT / f"sweeps/{paper.sweep}.yaml"))
    grid = Grid(sweep.config)
    labels = [trial.label for trial in iter(grid.ask, None)]
    assert sweep.config.layout == name and set(paper.rows) <= set(labels)
    assert set(sweep.experiment(Grid(sweep.config).ask(), 0).benchmarks.names()) == set(paper.columns) - {AVERAGE}


@pytest.mark.parametrize("name", papers.names())
def test_transcription_is_what_the_paper_prints(name, text_of):
    paper, text = papers.get(name), text_of(name)
    header, lines = paper.lines()
    if paper.transposed:
        searched = [" ".join(line) for line in lines]
    else:
        searched = [" ".join(f"<u>{number}</u>" if column in row.underlined else number
                             for column, number in zip(paper.columns, row.printed.split(), strict=True))
                    for row in paper.rows.values()]
        if paper.paper == "SmartAD":  # of the other one, names are broken over lines and formulas are in them
            searched = [f"{paper.heads_of(row)[-1]} {numbers}" for row, numbers in zip(paper.rows, searched, strict=True)
                        if paper.kind == "accuracy"] or searched
    at = 0
    for line in searched:  # in the order of the paper
        at = text.find(line, at)
        assert at >= 0, line
    assert paper.kind != "accuracy" or paper.transposed or "predecessor" in name or " ".join(header[len(paper.heads):-1]) in text


def test_texts_that_contradict_a_table_are_in_the_papers(text_of):
    for slip in slips():
        assert slip.quote in text_of(slip.table)


def test_lines_of_a_transposed_table_are_those_of_the_paper():
    header, lines = papers.get("smartad_table6").lines()
    assert header == ["Benchmark", "K = 1", "K = 5", "K = 10", "K = 15"]
    assert lines[4] == ["Gaokao", "36.88", "34.2", "37.1", "36.1"] and lines[-1] == ["Avg", "30.92", "30.16", "32.68", "32.47"]


def test_lines_of_a_table_have_heads_numbers_and_average():
    header, lines = papers.get("smartad_table2").lines()
    assert header[:5] == ["Params", "Type", "Method", "HotPotQA", "Math500"] and header[-1] == "Avg"
    assert lines[7] == ["1.5B", "Agent", "SmartAD (ours)", *papers.get("smartad_table5").rows["SmartAD"].printed.split()]


def test_share_is_the_number_of_questions_that_a_printed_one_was_cut_from():
    paper = papers.get("smartad_table2")
    assert paper.share("3B SmartAD", "aime") == (7, 90) and paper.texts("3B SmartAD")["aime"] == "7.7"
    assert paper.share("1.5B SmartAD", "gaokao") == (132, 385)


@pytest.mark.parametrize(("row", "words"), [
    (PaperRow("1.0 2.0"), "'a' has 2 numbers for 3 columns"),
    (PaperRow("1.0 2.0 1.5", ("a", "b")), "'a' is named by 2 texts under 1 heads"),
])
def test_row_that_does_not_fit_its_table_is_named(row, words):
    with pytest.raises(UserError, match=f"P, Table 1: {words}"):
        PaperTable("P", 1, "", {"g": ["x", "y"]}, {"a": row})


def test_printed_table_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(UserError, match=r"no printed table 'smartad_table1'; there are predecessor_table2, .*smartad_table10$"):
        papers.get("smartad_table1")
    with pytest.raises(UserError, match=r"smartad_table7 is not of a sweep's rows .* smartad buckets SWEEP --paper"):
        papers.of_rows("smartad_table7")


def test_slips_of_a_table_are_also_those_that_it_has_the_other_number_of():
    assert {slip.table for slip in of("smartad_table5")} == {"smartad_table3", "smartad_table5"}


def test_docs_list_the_slips():
    page = (ROOT / "docs/papers.md").read_text(encoding="utf-8")
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in page.splitlines() if line.startswith("| ")]
    said = [row for row in rows if row[0] in KINDS]
    quoted = {slip: f": “{slip.quote}”" if slip.quote else "" for slip in slips()}
    assert said == [(s.kind, s.table, s.row, s.column, s.printed, s.found + quoted[s]) for s in slips()]
    assert re.findall(r"^\| `(\w+)`", page, re.MULTILINE) == papers.names()


@pytest.mark.slow
def test_command_prints_a_table_as_the_paper_has_it_with_its_slips(tmp_path):
    said = smartad("table", "smartad_table10", "--paper", "--store", tmp_path / "store").stdout
    assert said == """| Method | HumanEval |
| --- | ---: |
| Qwen2.5-3B-Instruct | 45.06 |
| Agent Distillation | 49.67 |
| AD | 51.97 |
| SAD | 43.75 |
| SmartAD (Ours) | 52.34 |

SmartAD, Table 10: Results on HumanEval for the 3B student model.

SmartAD, Table 10, Qwen2.5-3B-Instruct, HumanEval: 45.06; the nearest shares of its questions are 44.51 or 45.12.

SmartAD, Table 10, Agent Distillation, HumanEval: 49.67; the nearest shares of its questions are 49.39 or 50.00.

SmartAD, Table 10, AD, HumanEval: 51.97; the nearest shares of its questions are 51.83 or 52.44.

SmartAD, Table 10, SAD, HumanEval: 43.75; the nearest shares of its questions are 43.29 or 43.90.

SmartAD, Table 10, SmartAD (Ours), HumanEval: 52.34; the nearest shares of its questions are 51.83 or 52.44.
"""
    said = smartad("table", "smartad_table10", "--paper", "--format", "html", "--store", tmp_path / "store", status=2).stderr
    assert "a printed table is written as md, tex, csv, not as html" in said
    file = tmp_path / "printed.tex"
    assert str(file) in smartad("table", "smartad_table10", "--paper", "--to", file, "--store", tmp_path / "store").stdout
    assert file.read_text().startswith("\\begin{table}") and "SmartAD (Ours) & 52.34" in file.read_text()
    refused = smartad("table", "smartad_table10", "--store", tmp_path / "store", status=2).stderr
    assert "smartad_table10 --paper` shows it" in refused
