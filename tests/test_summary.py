"""A sweep as trackers show it: what stands in its tables and its figure is what the store holds."""

import dataclasses

import pytest

import small_sweeps
from conftest import ROOT
from smartad.figures.scores import draw_scores, pooled
from smartad.records import write_json, write_jsonl
from smartad.stats import wilson
from smartad.sweep import ledger, results
from smartad.sweep.driver import Driver
from smartad.sweep.summary import comparison, summary
from smartad.tables import RunCells
from smartad.types import Cell, Verdict

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def finished(store, tmp_path):
    """The ledger of a sweep of which two rows are finished, and one has failed."""
    sweep = small_sweeps.declare(tmp_path, base=[str(ROOT / "configs/toy.yaml")], seeds=[0, 1],
                                 space={"train.weights.final": [20, 30, 50]})
    small_sweeps.run(sweep, store)
    return ledger.load(store, sweep.name)


def rows_of(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


@pytest.mark.slow
def test_summary_says_what_the_store_holds_and_a_hole_is_no_zero(store, finished):
    found = summary(store, finished)
    comparison, trials = found.views
    assert [(row["method"], row["toy_math"], row["Avg"], row["note"]) for row in rows_of(comparison)] == [
        ("train.weights.final=20", 50.0, 50.0, ""), ("train.weights.final=30", 75.0, 75.0, ""),
        ("train.weights.final=50", None, None, "failed")]
    rows = rows_of(trials)
    assert [(row["train.weights.final"], row["seed"], row["avg"]) for row in rows] == [
        (20, 0, 50.0), (20, 1, 50.0), (30, 0, 75.0), (30, 1, 75.0), (50, 0, None), (50, 1, None)]
    assert rows[2]["adapter"].startswith("train-") and rows[2]["row"].startswith("aggregate-")
    assert found.id == f"sweep-{finished.name}" and found.config["metric"] == "avg"
    assert (found.metrics["trials"], found.metrics["best/avg"]) == (3, 75.0)
    assert found.metrics["finished"] < found.metrics["stages"]
    assert found.figures["scores"].read_bytes().startswith(PNG)


@pytest.mark.slow
def test_summary_shows_where_two_graders_of_the_same_attempts_differ(store, finished):
    grades = [f for f in finished.stages() if f.startswith("grade-") and store.has(f)
              and store.record(f)["identity"]["inputs"]["attempts"].startswith("evaluate-")]
    attempts = store.record(grades[0])["identity"]["inputs"]["attempts"]
    other = next(f for f in grades if store.record(f)["identity"]["inputs"]["attempts"] != attempts)
    record = store.record(other)
    record["identity"]["inputs"]["attempts"] = attempts  # as if it had graded the same attempts in another way
    write_json(store.folder(other) / "record.json", record)
    write_jsonl(store.folder(grades[0]) / "verdicts.jsonl", [Verdict(f"toy/{i}", 0, i < 2, "exact/1", "") for i in range(4)])
    write_jsonl(store.folder(other) / "verdicts.jsonl", [Verdict(f"toy/{i}", 0, (True, False, False, None)[i], "strict/1", "")
                                                         for i in range(4)])
    table, = (view for view in summary(store, finished).views if view.name == "confusion of graders")
    found = {(row["its verdict"], row["its verdict there"]): row["count"] for row in rows_of(table)
             if {row["grader"], row["other grader"]} == {"exact/1", "strict/1"}}
    assert found == {("correct", "correct"): 1, ("correct", "wrong"): 1, ("wrong", "wrong"): 1, ("wrong", "ungraded"): 1}


def test_interval_is_wilsons():
    """Newcombe (1998), Table I: 81 of 263, and none of 20."""
    assert wilson(81, 263) == (pytest.approx(25.53, abs=0.005), pytest.approx(36.62, abs=0.005))
    assert wilson(0, 20) == (pytest.approx(0.0, abs=1e-9), pytest.approx(16.11, abs=0.005))


def test_cell_that_seeds_share_is_pooled_once():
    shared, own = Cell("toy", 5, 10, 0, "grade-a"), Cell("toy", 7, 10, 0, "grade-b")
    assert pooled([RunCells({"toy": shared}), RunCells({"toy": shared}), RunCells({"toy": own})], "toy") == (12, 20)
    assert pooled([RunCells({})], "toy") == (0, 0)


@pytest.mark.slow
def test_figure_of_more_rows_than_can_be_told_apart_is_still_one(tmp_path):
    rows = {f"trial {i}": [RunCells({"toy": Cell("toy", i, 200, 0, f"grade-{i}")} if i % 2 else {})] for i in range(120)}
    draw_scores(tmp_path / "scores.png", rows, ["toy"])
    content = (tmp_path / "scores.png").read_bytes()
    height = int.from_bytes(content[20:24], "big")
    assert content.startswith(PNG) and 1000 < height < 2500 and [path.name for path in tmp_path.iterdir()] == ["scores.png"]


def test_best_of_no_finished_row_is_not_measured(store, tmp_path):
    sweep = small_sweeps.declare(tmp_path, base=[str(ROOT / "configs/toy.yaml")], space={"train.weights.final": [1]})
    driver = Driver(sweep, store)
    driver.ask()
    driver.save()
    found = summary(store, ledger.load(store, sweep.name))
    assert found.metrics["best/avg"] is None and found.figures == {}


@pytest.mark.slow
def test_best_by_what_is_to_be_small_is_the_smallest_and_by_the_others_the_largest(store, finished):
    smallest = dataclasses.replace(finished, config={**finished.config, "direction": "minimize"})
    assert results.best(store, smallest, "avg")[0].label == "train.weights.final=20"
    assert results.best(store, smallest, "pass@1/toy_math")[0].label == "train.weights.final=30"
    aims = {"avg": "maximize", "pass@1/toy_qa": "minimize"}
    several = dataclasses.replace(finished, config={**finished.config, "objectives": aims})
    assert results.best(store, several, "avg")[0].label == "train.weights.final=30"
    assert results.best(store, several, "pass@1/toy_qa")[0].label == "train.weights.final=20"


def test_comparison_counts_what_was_not_graded_once(store):
    cells = [Cell("toy", 5, 8, 2, "grade-a"), Cell("other", 5, 9, 1, "grade-b")]
    store.folder("aggregate-0").mkdir()
    write_jsonl(store.folder("aggregate-0") / "cells.jsonl", cells)
    write_json(store.folder("aggregate-0") / "record.json", {})
    trial = ledger.LedgerTrial("a", {}, (ledger.Run(0, "aggregate-0", None, ("aggregate-0",), ((),)),))
    book = ledger.Ledger("s", {}, {"In-domain": ["toy", "other"]}, (trial,))
    assert rows_of(comparison(store, book))[0]["ungraded"] == 3
