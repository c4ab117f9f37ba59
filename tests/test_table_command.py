"""smartad table of half-finished sweeps, and into files."""

import shutil

import pytest
import yaml

from conftest import ROOT
from small_sweeps import QUESTIONS, declare, run
from smartad.analysis.compare import counted
from smartad.cli import main
from smartad.store import Store
from smartad.sweep import forgetting, ledger, results
from smartad.sweep.driver import Driver
from smartad.sweep.space import read
from smartad.sweep.summary import comparison

pytestmark = pytest.mark.slow
ARMS = {"good": {"train.weights.final": 36}, "other": {"train.weights.final": 24}}
BASE = [str(ROOT / "configs/toy.yaml"), "benchmarks.in_domain=[toy_math,math500]", "benchmarks.out_of_domain=[toy_qa]"]
"""math500 is graded by two graders."""
NAMES = ["toy_math", "math500", "toy_qa"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished sweep of two rows and two seeds."""
    folder = tmp_path_factory.mktemp("table")
    store = Store(folder / "store").open()
    _, dispatcher = run(declare(folder, base=BASE, arms=ARMS, seeds=[0, 1]), store)
    assert dispatcher.failures == {}
    return store


@pytest.fixture
def swept(finished, tmp_path):
    """A copy of it for the test alone."""
    return Store(shutil.copytree(finished.root, tmp_path / "store"))


def book(store):
    return ledger.load(store, "declared")


def texts(store, label):
    table = results.table(store, book(store))
    return {column: table.text(label, column) for column in table.columns}


def grades(store, label, seed=0):
    """Benchmark -> its grade stages, the one that counts first, as the finished row says."""
    found = next(run for trial in book(store).trials if trial.label == label for run in trial.runs if run.seed == seed)
    inputs = store.record(found.goal)["identity"]["inputs"]
    return {name: [f for role, f in inputs.items() if role.partition("@")[0] == name] for name in NAMES}


def test_finished_row_and_its_parts_have_the_same_cells(swept):
    for trial in book(swept).trials:
        for found in trial.runs:
            by_record = results.cells(swept, found.goal).cells
            assert {c.benchmark: c for c in (results.graded(swept, each[0]) for each in results.grades_of(found))} == by_record


def test_graded_benchmarks_of_an_unfinished_run_are_shown_and_its_average_is_a_hole(swept):
    forgetting.forget_grade(swept, grades(swept, "good")["toy_qa"][0])
    assert texts(swept, "good") == {"toy_math": "90.0 ±0.0", "math500": "90.0 ±0.0", "toy_qa": "90.0 (1 of 2 seeds)",
                                    "Avg": "90.0 (1 of 2 seeds)", "Micro": "90.0 (1 of 2 seeds)"}
    assert texts(swept, "other")["Avg"] == "60.0 ±0.0"
    assert [row[-1] for row in comparison(swept, book(swept)).rows] == ["1 of 2 seeds, unfinished", ""]
    forgetting.forget_grade(swept, grades(swept, "good", seed=1)["toy_qa"][0])
    assert texts(swept, "good") == {"toy_math": "90.0 ±0.0", "math500": "90.0 ±0.0", "toy_qa": "unfinished",
                                    "Avg": "unfinished", "Micro": "unfinished"}


def test_second_grader_alone_does_not_take_the_place_of_the_one_that_counts(swept):
    first, second = grades(swept, "good")["math500"]
    forgetting.forget_grade(swept, first)
    assert swept.has(second) and texts(swept, "good")["math500"] == "90.0 (1 of 2 seeds)"
    assert set(results.rows(swept, book(swept))["good"][0].cells) == {"toy_math", "toy_qa"}
    run = book(swept).trials[0].runs[0]
    assert counted(swept, run, "math500") is None and counted(swept, run, "math500", "math_paper") == second


def test_row_without_its_second_grader_has_every_cell_and_is_still_unfinished(swept):
    for seed in (0, 1):
        forgetting.forget_grade(swept, grades(swept, "good", seed)["math500"][1])
    assert texts(swept, "good") == {"toy_math": "90.0 ±0.0", "math500": "90.0 ±0.0", "toy_qa": "90.0 ±0.0",
                                    "Avg": "unfinished", "Micro": "unfinished"}


def test_what_is_graded_of_an_unfinished_run_is_no_score_for_anybody_else(swept, tmp_path):
    """The best row, whose aggregates are gone, is not the best of the finished ones, and the driver has yet to make it."""
    for seed in (0, 1):
        forgetting.forget_grade(swept, grades(swept, "good", seed)["math500"][1])
    assert results.best(swept, book(swept), "avg")[0].label == "other"
    assert [trial.score(swept, "avg") for trial in book(swept).trials] == [None, 60.0]
    driver, _ = run(declare(tmp_path, base=BASE, arms=ARMS, seeds=[0, 1]), swept)
    assert set(driver.proposer.told()) == {("done", "good"), ("done", "other")}
    assert results.best(swept, book(swept), "avg")[0].label == "good" and texts(swept, "good")["Avg"] == "90.0 ±0.0"


def test_grader_of_unfinished_rows_alone_is_taken_and_another_is_refused(swept, capsys):
    for label in ARMS:
        for seed in (0, 1):
            forgetting.forget_grade(swept, grades(swept, label, seed)["toy_qa"][0])
    for path in swept.root.glob("grade-*/verdicts.jsonl"):
        path.write_text(path.read_text().replace("test/1", "exact/1"))
    assert main(["table", "declared", "--store", str(swept.root), "--grader", "exact"]) == 0
    assert "exact/1" in capsys.readouterr().out
    assert main(["table", "declared", "--store", str(swept.root), "--grader", "math_paper"]) == 2
    assert "nothing of declared is graded by math_paper; there are verdicts of exact/1. " in capsys.readouterr().err


def test_failed_row_is_failed_in_every_column_and_takes_no_rank(store, tmp_path):
    broken = {"train.weights.final": QUESTIONS + 1}
    run(declare(tmp_path, base=BASE, arms={"broken": broken, **ARMS}), store)
    assert texts(store, "broken") == dict.fromkeys([*NAMES, "Avg", "Micro"], "failed")
    assert results.table(store, book(store)).rows["good"]["Avg"].rank == "best"


def test_table_is_written_whole_in_the_form_that_the_ending_says(swept, tmp_path, capsys):
    begins = {"t.md": "| Method |", "t.tex": r"\begin{table}", "t.csv": "row,seed,", "t.HTML": "<!doctype html>"}
    for name, begin in begins.items():
        (tmp_path / name).write_text("an earlier one, which is longer than nothing" * 1000)
        assert main(["table", "declared", "--store", str(swept.root), "--to", str(tmp_path / name)]) == 0
        assert capsys.readouterr().out == f"{tmp_path / name}: declared\n"
        assert (tmp_path / name).read_text().startswith(begin)
    words = ["--to", str(tmp_path / "t.txt"), "--format", "tex", "--interval"]
    assert main(["table", "declared", "--store", str(swept.root), *words]) == 0
    assert "90.0 $\\pm$0.0}" in (tmp_path / "t.txt").read_text() and "(76.9--96.0)" in (tmp_path / "t.txt").read_text()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("words", "said"), [
    (["--to", "table.pdf"], "--to table.pdf: a file is md, tex, csv or html; let its name end so, or say which with --format"),
    (["--to", "table.md", "--format", "terminal"], "--to table.md: a file is md, tex, csv or html"),
    (["--to", "no/where/table.md"], "--to no/where/table.md cannot be written: No such file or directory")])
def test_table_that_cannot_be_written_says_why(swept, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(["table", "declared", "--store", str(swept.root), *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("students", "sizes"), [
    ([None, "Qwen/Qwen2.5-1.5B-Instruct@c0ffee", "Qwen/Qwen2.5-3B-Instruct"], ["toy", "1.5B", "3B"]),
    (["HuggingFaceTB/SmolLM2-135M", "microsoft/phi-2", "org/x7b"], ["135M", "phi-2", "x7b"])])
def test_size_of_a_row_is_that_of_its_student(store, tmp_path, students, sizes):
    arms = {str(number): {"student": student} if student else {} for number, student in enumerate(students)}
    path = tmp_path / "declared.yaml"
    path.write_text(yaml.safe_dump({"base": [str(ROOT / "configs/toy.yaml")], "arms": arms}))
    driver = Driver(read(str(path)), Store(store.root))
    driver.ask()
    driver.save()
    assert list(results.sizes(book(store)).values()) == sizes
    assert results.table(store, book(store)).heads == ("Student", "Method")
