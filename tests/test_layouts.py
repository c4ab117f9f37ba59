"""A sweep's table laid out as a paper's, with what that prints: order, names, holes, rows of its own, and every form of it."""

import csv
import io
from pathlib import Path

import pytest

from smartad import papers, tables
from smartad.cli import main
from smartad.config import ConfigError
from smartad.papers.layout import laid_out
from smartad.records import write_json, write_jsonl
from smartad.sweep import ledger, results, teachers
from smartad.sweep.ledger import Ledger, LedgerTrial, Run
from smartad.sweep.space import SweepConfig, declaration, read
from smartad.types import Cell, UserError, Verdict

pytestmark = pytest.mark.slow
NINE = ("hotpotqa", "math500", "musique", "bamboogle", "wiki2qa", "aime", "amc23", "gaokao", "olymmath")


def rights(name, row, **otherwise):
    """Benchmark -> (right, of): what a printed row stands for, but for some."""
    paper = papers.get(name)
    return {column: (otherwise.get(column, paper.share(row, column)[0]), paper.n[column]) for column in paper.columns
            if column != tables.AVERAGE}


def sealed(store, fingerprint, config=None, inputs=None):
    """A finished stage, as far as tables look at it."""
    folder = store.folder(fingerprint)
    folder.mkdir()
    identity = {"stage": fingerprint.partition("-")[0], "version": 1, "config": config or {}, "inputs": inputs or {}}
    write_json(folder / "record.json", {"fingerprint": fingerprint, "identity": identity, "metrics": {}, "environment": {},
                                        "started": 0.0, "seconds": 0.0})
    return folder


def finished(store, rows, benchmarks=NINE, layout=None, name="swept"):
    """The ledger of a sweep that came to ``rows``: label -> benchmark -> (right, of), of each seed."""
    trials = []
    for label, seeds in rows.items():
        runs = []
        for seed, found in enumerate(seeds):
            goal = f"aggregate-{len(trials):06x}{seed:06x}"
            write_jsonl(sealed(store, goal) / "cells.jsonl", [Cell(benchmark, right, n, 0, f"grade-{goal}-{benchmark}", "exact/1")
                                                              for benchmark, (right, n) in found.items()])
            write_jsonl(store.folder(goal) / "other_cells.jsonl", [])
            runs.append(Run(seed, goal, None, (goal,), ((),)))
        trials.append(LedgerTrial(label, {}, tuple(runs)))
    groups = {"In-domain": list(benchmarks[:2]), "Out-of-domain": list(benchmarks[2:])}
    ledger.save(store, Ledger(name, {"layout": layout, "base": {}, "arms": {}}, groups, tuple(trials)))
    return ledger.load(store, name)


def printed(capsys, store, *words):
    """What ``smartad table`` prints."""
    assert main(["table", *words, "--store", str(store.root)]) == 0
    return capsys.readouterr().out


@pytest.fixture
def by_k(store):
    """Table 6 without K=15 and with a K of its own, a little better than printed here and much worse there."""
    finished(store, {"select.first=1": [rights("smartad_table6", "select.first=1")],
                     "select.first=5": [rights("smartad_table6", "select.first=5", wiki2qa=250, hotpotqa=100, bamboogle=57)],
                     "select.first=10": [rights("smartad_table6", "select.first=10")],
                     "select.first=20": [rights("smartad_table6", "select.first=10", aime=9)]}, layout="smartad_table6")
    return store


def test_table_of_a_sweep_is_laid_out_as_it_declares(capsys, by_k):
    lines = printed(capsys, by_k, "swept").splitlines()
    assert lines[:13] == [
        "| Benchmark | K = 1 | K = 5 | K = 10 | K = 15 | select.first=20 |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| 2WikiQA (n=500) | 41.4 | **50.0** | <u>44.2</u> | – | <u>44.2</u> |",
        "| AIME (n=90) | 4.4 | <u>5.6</u> | <u>5.6</u> | – | **10.0** |",
        "| AMC23 (n=40) | **30.0** | <u>22.5</u> | **30.0** | – | **30.0** |",
        "| Bamboogle (n=125) | 43.2 | <u>45.6</u> | **52.0** | – | **52.0** |",
        "| Gaokao (n=385) | <u>36.9</u> | 34.3 | **37.1** | – | **37.1** |",
        "| HotPotQA (n=500) | <u>50.6</u> | 20.0 | **51.0** | – | **51.0** |",
        "| Math500 (n=500) | <u>52.8</u> | 51.4 | **53.4** | – | **53.4** |",
        "| MuSiQue (n=500) | <u>15.0</u> | 13.8 | **16.4** | – | **16.4** |",
        "| OlymMath (n=200) | 4.0 | **5.5** | <u>4.5</u> | – | <u>4.5</u> |",
        "| Avg | 30.9 | 27.6 | <u>32.7</u> | – | **33.2** |",
        "| Micro | 35.9 | 31.3 | <u>37.3</u> | – | **37.4** |"]
    assert [line for line in lines[13:] if line.startswith(("Laid", "Rows"))] == [
        "Laid out as SmartAD, Table 6.", "Rows of the paper that this sweep has not: select.first=15.",
        "Rows of this sweep that the paper has not: select.first=20."]


def test_paper_stands_below_every_number_with_difference_and_verdict(capsys, by_k):
    lines = printed(capsys, by_k, "swept", "--paper").splitlines()
    assert lines[2] == ("| 2WikiQA (n=500) | 41.4<br>paper 41.4, +0.0, inside | **50.0**<br>paper 46.4, +3.6, inside | "
                        "<u>44.2</u><br>paper 44.2, +0.0, inside | –<br>paper 48.2 | <u>44.2</u> |")
    assert lines[5].split(" | ")[2] == "<u>45.6</u><br>paper 42.4, +3.2, inside"
    assert lines[7].split(" | ")[2] == "20.0<br>paper 49.8, -29.8, apart"
    assert lines[11] == ("| Avg | 30.9<br>paper 30.92, +0.0, inside | 27.6<br>paper 30.16, -2.5, outside | "
                         "<u>32.7</u><br>paper 32.68, +0.0, inside | –<br>paper 32.47 | **33.2** |")
    assert "paper" not in lines[12] and tables.printed.ABOUT in lines[14]


def test_terminal_html_and_csv_have_what_is_printed(capsys, by_k, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert "paper 49.8, -29.8, apart" in printed(capsys, by_k, "swept", "--paper", "--format", "terminal")
    page = printed(capsys, by_k, "swept", "--paper", "--format", "html")
    assert '<span class="number">20.0</span><span class="more">paper 49.8, -29.8, apart</span>' in page
    lines = list(csv.DictReader(io.StringIO(printed(capsys, by_k, "swept", "--paper", "--format", "csv"))))
    found = {(line["row"], line["benchmark"]): line for line in lines}
    assert (found["select.first=5", "hotpotqa"]["correct"], found["select.first=5", "hotpotqa"]["paper"]) == ("100", "49.8")
    assert (found["select.first=15", "aime"]["correct"], found["select.first=15", "aime"]["paper"]) == ("", "6.6")
    assert found["select.first=20", "aime"]["paper"] == "" and len(lines) == 5 * 9


def test_latex_of_a_table_with_what_the_paper_prints_is_whole(capsys, store, request):
    finished(store, {"1.5B SmartAD": [rights("smartad_table3", "1.5B SmartAD")],
                     "1.5B Agent Distillation": [rights("smartad_table3", "1.5B Agent Distillation", hotpotqa=260)],
                     "3B SmartAD": [rights("smartad_table3", "3B SmartAD")],
                     "a & b": [rights("smartad_table3", "3B SmartAD", math500=280)]}, layout="smartad_table3")
    said = printed(capsys, store, "swept", "--paper", "--format", "tex")
    golden = Path(__file__).with_name("golden_layout.tex")
    if request.config.getoption("--update-goldens"):
        golden.write_text(said, encoding="utf-8")
    assert said == golden.read_text(encoding="utf-8")


def test_rows_are_in_the_papers_order_with_their_heads_and_ranked_by_size(store):
    book = finished(store, {"3B SmartAD": [rights("smartad_table2", "3B SmartAD")], "mine": [rights("smartad_table2", "3B SAD")],
                            "1.5B CoT Prompt": [rights("smartad_table2", "1.5B CoT Prompt")],
                            "1.5B AD": [rights("smartad_table2", "1.5B AD")]}, layout="smartad_table2")
    table = results.table(store, book)
    assert list(table.rows) == [*papers.get("smartad_table2").rows, "mine"]
    assert [table.heading(row) for row in ("1.5B AD", "mine")] == [("1.5B", "Agent", "AD"), ("–", "–", "mine")]
    assert [table.rows[row]["math500"].rank for row in ("1.5B CoT Prompt", "1.5B AD", "3B SmartAD", "mine")] == [
        "best", "second", "best", ""]
    assert [table.rows[row]["math500"].percent for row in ("1.5B SAD", "3B AD")] == [None, None]
    assert "| 1.5B | CoT | Prompt | <u>19.6</u> | **48.2** |" in tables.markdown(table)


def test_seeds_of_a_laid_out_table_are_pooled_as_everywhere(store):
    one, other = (rights("smartad_table4", "min-NLL", hotpotqa=right) for right in (250, 270))
    book = finished(store, {"min-NLL": [one, other]}, layout="smartad_table4")
    table = results.arranged(book, results.rows(store, book), papers.get("smartad_table4"), beside=True)
    assert table.lines("min-NLL", "hotpotqa") == ["52.0 ±2.8", "paper 51.0, +1.0, inside"]
    assert table.rows["max-NLL"]["hotpotqa"].percent is None


def test_benchmarks_of_a_sweep_are_in_the_papers_order_and_its_own_behind(store):
    shares = {**rights("smartad_table5", "Uniform"), "toy_math": (3, 40)}
    del shares["aime"]
    there = ("toy_math", *(name for name in NINE if name != "aime"))
    book = finished(store, {"Uniform": [shares]}, benchmarks=there, layout="smartad_table5")
    table = results.arranged(book, results.rows(store, book), results.layout_of(book), beside=True)
    assert table.benchmarks == [*NINE, "toy_math"] and table.groups["Not in the paper"] == ["toy_math"]
    assert table.rows["Uniform"]["aime"].percent is None and table.rows["Uniform"]["toy_math"].percent == 7.5
    assert table.lines("Uniform", "aime") == ["–", "paper 3.3"] and table.lines("Uniform", "Avg") == ["–"]
    assert "Benchmarks that the paper's table has not: toy_math; averages are over these too" in " ".join(table.remarks)


def test_sweep_of_other_benchmarks_has_holes_for_the_papers_and_its_own_numbers(store):
    book = finished(store, {"a": [{"toy_math": (9, 10), "toy_qa": (5, 10)}]}, benchmarks=("toy_math", "toy_qa"))
    table = laid_out(papers.get("smartad_table3"), "t", book.groups, results.rows(store, book), beside=True)
    assert {table.text(row, column) for row in table.rows for column in NINE} == {"–"}
    assert [table.text("a", column) for column in ("toy_math", "toy_qa", "Avg")] == ["90.0", "50.0", "–"]


def test_table_without_an_average_has_none(store):
    book = finished(store, {"SAD": [{"humaneval": (71, 164)}]}, benchmarks=("humaneval",), layout="smartad_table10")
    table = results.arranged(book, results.rows(store, book), results.layout_of(book), beside=True)
    assert table.columns == ["humaneval"] and table.lines("SAD", "humaneval") == ["43.3", "paper 43.75, -0.5, inside"]
    assert "| SAD | **43.3**<br>paper 43.75, -0.5, inside |" in tables.markdown(table)


TEACHER = {"teacher": "Qwen/Qwen2.5-32B-Instruct", "agent": "codeact", "first_thought": False, "passages": False}


def pool(store, number, right, **config):
    """A graded pool, two samples of each of four questions of two training sets: the fingerprint of its grade stage."""
    collect, grade = f"collect-{number:012x}", f"grade-{number:012x}"
    sealed(store, collect, {**TEACHER, **config})
    verdicts = [Verdict(f"{name}/{q}", sample, q + sample < right, "exact/1", "") for name in ("math_hard", "math_medium")
                for q in range(4) for sample in range(2)]
    write_jsonl(sealed(store, grade, inputs={"attempts": collect}) / "verdicts.jsonl", verdicts)
    return grade


def test_what_the_teacher_got_right_is_a_table_of_a_sweeps_pools(capsys, store):
    grades = [pool(store, 1, 2), pool(store, 2, 4, first_thought=True), pool(store, 3, 1, agent="cot", passages=True)]
    sealed(store, "evaluate-000000000009")
    sealed(store, "grade-000000000009", inputs={"attempts": "evaluate-000000000009"})
    stages = (*grades, "grade-000000000009", "grade-00000000000f")
    ledger.save(store, Ledger("swept", {"base": {}}, {"In-domain": ["aime"]},
                              (LedgerTrial("a", {}, (Run(0, "aggregate-0", None, stages, ((),) * 5),)),)))
    lines = printed(capsys, store, "swept", "--layout", "predecessor_table4", "--paper").splitlines()
    n = "(n=8 of 4 questions)"
    assert lines[0] == f"| Type | Model | HotpotQA | MATH (hard) {n} | MATH (medium) {n} |"
    assert lines[2:6] == [
        "| CoT | Qwen2.5-32B-Instruct | –<br>paper 40.9 | –<br>paper 71.1 | –<br>paper 89.8 |",
        "| Agent | Qwen2.5-32B-Instruct | –<br>paper 59.3 | <u>37.5</u><br>paper 58.4, -20.9, inside | "
        "<u>37.5</u><br>paper 78.4, -40.9, apart |",
        "|  | Qwen2.5-32B-Instruct + ftp | –<br>paper 60.8 | **87.5**<br>paper 67.1, +20.4, inside | "
        "**87.5**<br>paper 83.4, +4.1, inside |",
        "| – | CoT Qwen2.5-32B-Instruct + RAG | – | 12.5 | 12.5 |"]


    assert main(["table", "swept", "--layout", "predecessor_table4", "--grader", "exact", "--store", str(store.root)]) == 2
    assert "--grader exact: predecessor_table4 is of the pools of swept" in capsys.readouterr().err


def test_pools_that_would_have_one_label_are_told_apart_and_neither_is_the_papers_row(store):
    grades = (pool(store, 1, 2), pool(store, 2, 4, temperature=0.7), pool(store, 3, 1, first_thought=True))
    book = Ledger("swept", {"base": {}}, {}, (LedgerTrial("a", {}, (Run(0, "aggregate-0", None, grades, ((),) * 3),)),))
    teacher = "Agent Qwen2.5-32B-Instruct"
    assert list(teachers.rows(store, book)) == [f"{teacher}, {grades[0]}", f"{teacher}, {grades[1]}", f"{teacher} + ftp"]


def test_sweep_without_a_row_says_so(capsys, store):
    ledger.save(store, Ledger("swept", {"base": {}, "arms": {}}, {"In-domain": ["aime"]}, ()))
    assert main(["table", "swept", "--store", str(store.root)]) == 2
    assert "swept has no row yet" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "said"), [
    (["--paper"], "--paper puts what a paper prints beside the numbers of swept, which declares no layout; name a printed table "
                  "with --layout: predecessor_table2, "),
    (["--layout", "table3"], "no printed table 'table3'; there are predecessor_table2, "),
    (["--layout", "smartad_table8"], "smartad_table8 is not of a sweep's rows but of its pools' buckets: smartad buckets SWEEP"),
])
def test_layout_that_cannot_be_is_refused_with_those_that_can(capsys, store, words, said):
    finished(store, {"a": [{"toy_math": (9, 10), "toy_qa": (5, 10)}]}, benchmarks=("toy_math", "toy_qa"))
    assert main(["table", "swept", *words, "--store", str(store.root)]) == 2
    assert said in capsys.readouterr().err


def test_layout_is_of_the_sweep_file_and_in_its_ledger(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("arms: {a: {seed: 0}}\nlayout: smartad_table3\n")
    sweep = read(str(path))
    assert sweep.config.layout == "smartad_table3" and declaration(sweep)["layout"] == "smartad_table3"
    assert SweepConfig(arms={"a": {}}).layout is None
    path.write_text("arms: {a: {seed: 0}}\nlayout: smartad_tabel3\n")
    with pytest.raises(ConfigError, match="no printed table 'smartad_tabel3'; there are .*smartad_table3"):
        read(str(path))


def test_sweep_that_was_started_before_there_were_layouts_has_none(store):
    book = finished(store, {"a": [{"toy_math": (9, 10), "toy_qa": (5, 10)}]}, benchmarks=("toy_math", "toy_qa"))
    assert results.layout_of(Ledger(book.name, {"base": {}}, book.groups, book.trials)) is None
    assert list(results.table(store, book).rows) == ["a"]
    with pytest.raises(UserError, match="no printed table"):
        results.layout_of(book, "none")
