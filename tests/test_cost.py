"""What a sweep has cost and what went wrong in it, added up from a store whose every stage took an hour of one GPU."""

import shutil
from collections import Counter

import pytest

import made_up
import reported
from smartad.analysis import cost, failures
from smartad.analysis.finished import environment, finished
from smartad.records import to_json, write_json
from smartad.store import Store
from smartad.sweep import bill, ledger
from smartad.sweep.bill import UNKNOWN, Bill, Line
from smartad.sweep.state import Jobs, look


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cost")
    store = Store(folder / "store").open()
    book, specs = made_up.launch(store, reported.declare(folder))
    reported.finish(store, specs)
    return store, book, specs


@pytest.fixture
def store(made, tmp_path):
    """One of the test's own."""
    shutil.copytree(made[0].root, tmp_path / "store")
    return Store(tmp_path / "store")


def by_kind(store, book):
    return {row.stage: row for row in cost.spent(store, book, finished(store, book))}


def test_cost_counts_shared_stages_once_and_says_what_nobody_measured(store, made):
    book, specs = made[1:]
    rows = by_kind(store, book)
    assert {kind: row.finished for kind, row in rows.items()} == Counter(spec.stage.name for spec in specs)
    whole = cost.overall(list(rows.values()))
    assert (whole["gpu_hours"].known, whole["cpu_hours"].known) == (len(specs), 2 * len(specs))
    evaluations = rows["evaluate"].finished
    assert (whole["tokens"].known, whole["tokens"].unknown) == (60 * evaluations, 1), "the scripted teacher counts none"
    assert rows["collect"].amounts["tokens"] == cost.Amount(None, 1) and rows["train"].amounts["tokens"] == cost.Amount(0.0, 0)
    assert {row.earlier for row in rows.values()} == {None}, "nobody wrote down when it was started"


def test_cost_leaves_out_what_was_there_before_the_sweep(store, made):
    book = made[1]
    own = [f for f in book.stages() if f.startswith("evaluate-")][:3]
    lines = (Line("evaluate", tuple(own), UNKNOWN, "nothing recorded"),)
    write_json(bill.path(store, book.name), to_json(Bill(2.0, lines)))  # every stage began at 1.0
    rows = by_kind(store, book)
    assert rows["evaluate"].earlier == rows["evaluate"].finished - 3
    hours = {kind: row.amounts["gpu_hours"].known for kind, row in rows.items()}
    assert hours == {**dict.fromkeys(rows, 0.0), "evaluate": 3.0}


def test_cost_of_nothing_is_0_and_of_one_unknown_alone_is_not():
    assert cost.amounts([])["tokens"] == cost.Amount(0.0, 0)
    assert cost.amounts([UNKNOWN])["tokens"] == cost.Amount(None, 1)


def test_failures_are_by_class_with_the_rows_that_wait(store, made):
    book, specs = made[1:]
    trains = made_up.of(specs, "train")
    for spec, kind in zip(trains[:2], ("oom", "nan"), strict=True):
        shutil.rmtree(store.folder(spec.fingerprint))
        made_up.fail(store, spec, kind, f"it was {kind}")
    found = failures.failed(book, look(store, book, Jobs()))
    assert [(one.kind, one.message, one.fingerprint) for one in found] == [
        ("nan", "it was nan", trains[1].fingerprint), ("oom", "it was oom", trains[0].fingerprint)]
    for one in found:
        assert set(one.rows) == {trial.label for trial in book.trials for run in trial.runs if one.fingerprint in run.stages}


def test_endings_and_ungraded_are_those_of_the_attempts(store, made):
    book = ledger.load(store, made[1].name)
    attempts, stages = reported.attempts(store), finished(store, book)
    for ending in failures.endings(book, stages):
        trial = next(trial for trial in book.trials if trial.label == ending.row)
        own = {stage for run in trial.runs for stage in run.stages}
        rows = [row for (stage, _, _), row in attempts.items() if stage in own]
        assert (ending.attempts, ending.stops) == (len(rows), Counter(row["stop"] for row in rows))
        assert ending.steps == Counter(step["status"] for row in rows for step in row["steps"])
    ungraded = Counter((row["verdict"]["by"], row["verdict"]["reason"]) for row in attempts.values()
                       if row["verdict"]["correct"] is None)
    assert failures.ungraded(store, stages) == ungraded and ungraded


def test_environment_is_every_value_that_a_stage_recorded(store, made):
    book, specs = made[1:]
    record = store.record(specs[0].fingerprint)
    record["environment"]["gpus"], record["ran"]["engine"] = ["Other", "Other"], ["one", "two"]
    write_json(store.folder(specs[0].fingerprint) / "record.json", record)
    found = environment(finished(store, book))
    assert found["GPUs of a stage"] == ["1 × Some GPU", "2 × Other"] and found["engine"] == ["made up", "one", "two"]
    assert found["commit"] == ["c" * 40 + " with uncommitted changes"] and "host" not in found
