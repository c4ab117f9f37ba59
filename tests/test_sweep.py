"""The driver's loop, restarts, results.  The stages are trivial ones; the loop, store and workers are real."""

from collections import defaultdict

import pytest
import yaml

from smartad import registry
from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.records import write_jsonl
from smartad.stage import Runtime
from smartad.sweep import ledger, results
from smartad.sweep.driver import Driver, start
from smartad.sweep.space import read
from smartad.tracking import Tracking
from smartad.types import Cell

SPACE = {"select.rule": ["min", "max"], "train.weights.final": {"low": 1.0, "high": 4.0}}


def declare(tmp_path, **keys):
    path = tmp_path / "declared.yaml"
    path.write_text(yaml.safe_dump(keys, sort_keys=False))
    return read(str(path))


def finish(store, sweep, scores):
    """Seal made-up aggregates (and adapters) for the driver's trials: label -> score per seed."""
    driver = Driver(sweep, store)
    driver.ask()
    driver.save()
    for trial in driver.ledger().trials:
        for run, score in zip(trial.runs, scores[trial.label], strict=True):
            for fingerprint in (run.goal, run.train):
                with store.claim(fingerprint) as claim:
                    if claim:
                        folder = store.folder(fingerprint)
                        write_jsonl(folder / "cells.jsonl", [Cell(name, score, 100, 0, f"{run.goal}{name}")
                                                             for name in ("toy_math", "toy_qa", "toy_qa3")])
                        store.seal(claim, {"metrics": {"avg": float(score), "pass@1/toy_qa": 100.0 - score}})
    return driver.ledger()


@pytest.fixture
def sweep(tmp_path):
    return declare(tmp_path, arms={"good": {"select.rule": "min"}, "bad": {"select.rule": "max"}}, seeds=[0, 1])


def test_best_adapter_is_the_best_seed_of_the_row_with_the_best_mean(store, sweep):
    book = finish(store, sweep, {"good": (60, 70), "bad": (80, 20)})
    trial, run, value = results.best(store, book, "avg")
    assert (trial.label, run.seed, value) == ("good", 1, 70.0)


def test_promotion_is_in_the_registry_once(store, sweep):
    book = finish(store, sweep, {"good": (60, 70), "bad": (80, 20)})
    for _ in range(3):
        _, run = results.promote_best(store, book)
    assert registry.resolve(store.root, "best") == registry.resolve(store.root, "best:avg", "declared") == run.train
    assert [entry.alias for entry in registry.entries(store.root)] == ["best", "best:avg", "best:pass@1/toy_qa"]
    worst_on_average = next(trial for trial in book.trials if trial.label == "bad")
    assert registry.resolve(store.root, "best:pass@1/toy_qa") == worst_on_average.runs[1].train


def test_table_of_a_sweep_has_its_rows_groups_and_seeds(store, sweep):
    table = results.table(store, finish(store, sweep, {"good": (60, 70), "bad": (80, 20)}))
    assert list(table.rows) == ["good", "bad"] and table.columns == ["toy_math", "toy_qa", "toy_qa3", "Avg"]
    assert table.text("good", "Avg") == "65.0 ±7.1"


def test_ledger_of_an_unknown_sweep_names_those_there_are(store, sweep):
    finish(store, sweep, {"good": (60, 70), "bad": (80, 20)})
    with pytest.raises(ValueError, match="no sweep 'quick'.*there are declared"):
        ledger.load(store, "quick")
    assert ledger.load(store, "sweeps/declared.yaml").name == "declared"


class Done:
    """A dispatcher for which everything is finished."""

    def __init__(self):
        self.states = defaultdict(lambda: "done")


def test_search_that_is_killed_and_restarted_again_and_again_spends_its_budget_once(store, tmp_path):
    keys = {"backend": "optuna", "space": SPACE, "trials": 5, "parallel": 2}
    seen = []
    for _ in range(4):
        driver = Driver(declare(tmp_path, **keys), store)
        assert list(driver.trials) == seen, "it goes on with the trials it had"
        driver.tell(Done())
        driver.ask()
        driver.save()
        assert len(driver.open) <= 2
        seen = list(driver.trials)
    assert len(seen) == 5 and driver.ask() == [] and driver.dry


def test_proposer_that_only_repeats_itself_is_taken_for_dry(store, tmp_path):
    keys = {"backend": "optuna", "space": {"select.rule": ["min", "max"]}, "trials": 5, "parallel": 9}
    driver = Driver(declare(tmp_path, **keys), store)
    driver.ask()
    assert sorted(driver.trials) == ["select.rule=max", "select.rule=min"] and driver.dry


def test_sweep_with_overrides_does_not_take_the_place_of_the_declared_one(tmp_path):
    path = tmp_path / "declared.yaml"
    path.write_text("arms: {a: {}}")
    names = {read(str(path), overrides).name for overrides in ([], ["limits.questions=2"], ["limits.questions=3"])}
    assert len(names) == 3 and "declared" in names


def test_changed_declaration_starts_a_ledger_of_its_own(store, tmp_path):
    first = Driver(declare(tmp_path, arms={"a": {}}), store)
    start(first, Dispatcher(store, connect(ClusterConfig(), Job(store, Runtime(), Tracking(store.root)), 0)))
    second = Driver(declare(tmp_path, arms={"b": {}}), store)
    second.ask()
    assert list(second.trials) == ["b"]
