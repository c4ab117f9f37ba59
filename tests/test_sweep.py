"""Proposers, the driver's loop, restarts, results.  The stages are trivial ones; the loop, store and workers are real."""

from collections import defaultdict

import pytest
import yaml

from smartad import registry
from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.records import write_jsonl
from smartad.stage import Runtime
from smartad.sweep import ledger, proposers, results
from smartad.sweep.driver import Driver, start
from smartad.sweep.space import Outcome, SweepConfig, Trial, read
from smartad.tracking import Tracking
from smartad.types import Cell

SPACES = {"grid": {"select.rule": ["min", "max"], "select.first": [1, 5, 10]},
          "optuna": {"select.rule": ["min", "max"], "train.weights.final": {"low": 1.0, "high": 4.0}}}


def declare(tmp_path, **keys):
    path = tmp_path / "declared.yaml"
    path.write_text(yaml.safe_dump(keys, sort_keys=False))
    return read(str(path))


def config(backend):
    return SweepConfig(backend=backend, space=SPACES[backend], trials=6)


@pytest.mark.parametrize("backend", proposers.names())
def test_proposer_asks_only_for_what_the_space_allows(tmp_path, backend):
    """The contract of every proposer."""
    proposer = proposers.of(declare(tmp_path, backend=backend, space=SPACES[backend], trials=6))
    labels = []
    for _ in range(6):
        trial = proposer.ask()
        assert trial.values.keys() == SPACES[backend].keys()
        for key, value in trial.values.items():
            allowed = SPACES[backend][key]
            assert value in allowed if isinstance(allowed, list) else allowed["low"] <= value <= allowed["high"]
        labels.append(trial.label)
        proposer.tell(trial, Outcome("done", (float(len(labels)),)))
    assert len(set(labels)) == 6


@pytest.mark.parametrize("backend", proposers.names())
def test_proposer_takes_failures_and_trials_it_never_asked_for(tmp_path, backend):
    """The contract of every proposer."""
    proposer = proposers.of(declare(tmp_path, backend=backend, space=SPACES[backend], trials=6))
    known = {key: value[0] if isinstance(value, list) else value["low"] for key, value in SPACES[backend].items()}
    proposer.tell(Trial("of an earlier start", known), Outcome("done", (1.0,)))
    proposer.tell(Trial("of an earlier start, failed", known), Outcome("failed"))
    trial = proposer.ask()
    proposer.tell(trial, Outcome("failed"))
    assert proposer.ask() is not None


@pytest.mark.parametrize("backend", proposers.names())
def test_proposer_proposes_the_same_again_after_the_same_scores(tmp_path, backend):
    """The contract of every proposer: a search can be repeated."""
    def proposals():
        proposer = proposers.of(declare(tmp_path, backend=backend, space=SPACES[backend], trials=6))
        asked = []
        for _ in range(6):
            asked.append(proposer.ask())
            proposer.tell(asked[-1], Outcome("done", (float(len(asked[-1].label)),)))
        return asked
    assert proposals() == proposals()


def test_grid_is_the_whole_product_with_arms_first(tmp_path):
    sweep = declare(tmp_path, arms={"a": {}, "b": {"select.rule": "max"}}, space={"select.first": [1, 5]})
    proposer = proposers.of(sweep)
    labels = [proposer.ask().label for _ in range(4)]
    assert proposer.ask() is None
    assert labels == ["a, select.first=1", "a, select.first=5", "b, select.first=1", "b, select.first=5"]
    assert sweep.experiment(Trial("b", {"arm": "b", "select.first": 5}), seed=3).select.rule == "max"


def test_tpe_prefers_what_scored_well(tmp_path):
    space = {"train.weights.final": {"low": 0.0, "high": 10.0}}
    proposer = proposers.of(declare(tmp_path, backend="optuna", space=space, trials=60))
    values = []
    for _ in range(60):
        trial = proposer.ask()
        values.append(trial.values["train.weights.final"])
        proposer.tell(trial, Outcome("done", (-abs(values[-1] - 8.0),)))
    assert sum(abs(v - 8.0) < 1.5 for v in values[-20:]) > sum(abs(v - 8.0) < 1.5 for v in values[:20])


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
    keys = {"backend": "optuna", "space": SPACES["optuna"], "trials": 5, "parallel": 2}
    seen = []
    for _ in range(4):
        driver = Driver(declare(tmp_path, **keys), store)
        assert list(driver.trials) == seen, "it goes on with the trials it had"
        driver.tell(Done())
        driver.ask()
        driver.save()
        assert len(driver.trials) - len(driver.told) <= 2
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
