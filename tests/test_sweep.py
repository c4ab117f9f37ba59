"""The driver's loop, restarts, failures, results.  The stages are trivial ones; the loop, store and workers are real."""

import dataclasses
from collections import defaultdict

import pytest

from small_sweeps import QUESTIONS, declare, executions, run
from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.records import write_jsonl
from smartad.stage import Runtime
from smartad.store import Store
from smartad.sweep import ledger, results
from smartad.sweep.driver import Driver, start
from smartad.sweep.space import read
from smartad.tracking import Tracking
from smartad.types import Cell

SPACE = {"select.rule": ["min", "max"], "train.weights.final": {"low": 1.0, "high": 4.0}}


def finish(store, sweep, scores):
    """Seal made-up aggregates (and adapters) for the driver's trials: label -> score per seed."""
    driver = Driver(sweep, store)
    driver.ask()
    driver.save()
    for trial in driver.ledger().trials:
        for mine, score in zip(trial.runs, scores[trial.label], strict=True):
            for fingerprint in (mine.goal, mine.train):
                with store.claim(fingerprint) as claim:
                    if claim:
                        folder = store.folder(fingerprint)
                        write_jsonl(folder / "cells.jsonl", [Cell(name, score, 100, 0, f"{mine.goal}{name}")
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


def test_table_of_a_sweep_has_its_rows_groups_and_seeds(store, sweep):
    table = results.table(store, finish(store, sweep, {"good": (60, 70), "bad": (80, 20)}))
    assert list(table.rows) == ["good", "bad"] and table.columns == ["toy_math", "toy_qa", "toy_qa3", "Avg", "Micro"]
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


def test_search_that_is_given_more_trials_keeps_those_it_had(store, tmp_path):
    keys = {"backend": "optuna", "space": SPACE, "trials": 3, "parallel": 3}
    driver = Driver(declare(tmp_path, **keys), store)
    driver.ask()
    driver.save()
    had = list(driver.trials)
    longer = Driver(declare(tmp_path, **{**keys, "trials": 6, "parallel": 1}), store)
    longer.save()
    assert len(had) == 3 and [trial.label for trial in ledger.load(store, longer.sweep.name).trials] == had
    other = Driver(declare(tmp_path, **{**keys, "space": {"select.rule": ["min", "max"]}}), store)
    assert list(other.trials) == [], "what it was about is not what it is about now"


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


def arms(**rights):
    return {name: {"train.weights.final": right} for name, right in rights.items()}


BROKEN = QUESTIONS + 1


@pytest.mark.slow
def test_failing_arm_is_told_as_failed_and_a_hole_and_the_others_go_on(store, tmp_path):
    driver, dispatcher = run(declare(tmp_path, arms=arms(broken=BROKEN, good=36)), store)
    assert sorted(driver.proposer.told()) == [("done", "good"), ("failed", "broken")]
    assert [failure.message for failure in dispatcher.failures.values()] == ["cannot be trained"]
    table = results.table(store, ledger.load(store, "declared"))
    assert (table.text("broken", "Avg"), table.text("good", "Avg")) == ("failed", "90.0")


@pytest.mark.slow
def test_search_goes_on_after_failures_one_trial_at_a_time(store, tmp_path):
    space = {"train.weights.final": {"low": QUESTIONS - 2, "high": QUESTIONS + 3}}
    keys = {"backend": "optuna", "options": {"sampler": "random"}, "trials": 4, "parallel": 1, "space": space}
    driver, _ = run(declare(tmp_path, **keys), store)
    ended = {label: row.outcome.state for label, row in driver.rows.items()}
    assert len(ended) == 4 and set(ended.values()) == {"done", "failed"}
    assert ended == {label: "failed" if row.trial.values["train.weights.final"] > QUESTIONS else "done"
                     for label, row in driver.rows.items()}


def mend(store, driver):
    """What `smartad retry` does, after whatever was broken has been mended."""
    (store.root / "mended").touch()
    for fingerprint in driver.ledger().stages():
        if store.failure(fingerprint):
            store.forget_failure(fingerprint)


@pytest.mark.slow
@pytest.mark.parametrize("stopping", [None, {"rule": "wilcoxon"}])
def test_failure_that_is_tried_again_while_the_driver_lives_is_told_again(store, tmp_path, stopping):
    """``slow`` is at work until ``broken`` is mended; where seeds run one after the other, the second one still does."""
    (store.root / "no_waiting").touch()
    sweep = declare(tmp_path, arms=arms(slow=0, broken=BROKEN), seeds=[0, 1], stopping=stopping)
    driver, dispatcher = run(sweep, store, lambda driver: mend(store, driver) if driver.failed else None, jobs=3)
    assert [state for state, label in driver.proposer.told() if label == "broken"] == ["failed", "done"]
    assert driver.rows["broken"].outcome.scores == (100.0,) and not driver.failed and not dispatcher.failures
    assert results.best(store, ledger.load(store, "declared"), "avg")[0].label == "broken"


@pytest.mark.slow
def test_failure_that_is_mended_before_the_next_start_is_told_once(store, tmp_path):
    sweep = declare(tmp_path, arms=arms(good=36, broken=BROKEN))
    run(sweep, store)
    (store.root / "mended").touch()
    driver, _ = run(sweep, store)
    assert driver.proposer.told()[0] == ("done", "good")
    assert [state for state, label in driver.proposer.told() if label == "broken"] == ["done"]
    assert executions(store) == {"train/36/0": 1, f"train/{BROKEN}/0": 2}


@pytest.mark.slow
def test_proposer_hears_of_an_earlier_start_before_it_is_asked(store, tmp_path):
    """What it proposes does not depend on whether there was a kill in between."""
    keys = {"backend": "optuna", "space": {"train.weights.final": {"low": 20, "high": QUESTIONS}}, "parallel": 3}
    run(declare(tmp_path, **keys, trials=2), store)
    book = ledger.load(store, "declared")
    ledger.save(store, dataclasses.replace(book, config={**book.config, "trials": 3}))  # as if killed after the second
    driver, _ = run(declare(tmp_path, **keys, trials=3), store)
    assert [said for said, _ in driver.proposer.heard[:3]] == ["done", "done", "ask"] and len(driver.rows) == 3


class Waiting:
    """A dispatcher for which nothing ever ends."""

    def __init__(self):
        self.states = defaultdict(lambda: "waiting")


class CountingStore(Store):
    """How often it was looked into."""

    looks = 0

    def has(self, fingerprint):
        self.looks += 1
        return super().has(fingerprint)

    def record(self, fingerprint):
        self.looks += 1
        return super().record(fingerprint)


@pytest.mark.parametrize("stopping", [None, {"rule": "asha"}])
def test_round_in_which_nothing_ends_does_not_look_into_the_store(store, tmp_path, stopping):
    store = CountingStore(store.root)
    driver = Driver(declare(tmp_path, arms=arms(a=1, b=2, c=3), seeds=[0, 1], parallel=9, stopping=stopping), store)
    driver.ask()
    before = store.looks
    for _ in range(3):
        driver.tell(Waiting())
    assert store.looks == before and len(driver.open) == 3


def test_restarted_grid_goes_on_however_much_of_it_was_proposed_before(store, tmp_path, monkeypatch):
    """What it proposes again at first is not taken for having run out of ideas."""
    monkeypatch.setattr("smartad.sweep.driver.MAX_REPEATS", 2)
    keys = {"seeds": [0, 1], "stopping": {"rule": "asha"}, "parallel": 6, "space": {"train.weights.final": list(range(8))}}
    driver = Driver(declare(tmp_path, **keys), store)
    driver.ask()
    driver.save()
    driver = Driver(declare(tmp_path, **keys), store)
    assert len(driver.rows) == 6 and not driver.ask()
    for _ in (0, 1):
        driver.tell(Done())
    driver.ask()
    assert len(driver.rows) == 8


def test_ledger_grows_by_lines_and_a_torn_one_is_none(store, sweep):
    driver = Driver(sweep, store)
    driver.save()
    driver.ask()
    driver.save()
    path = ledger.path(store, "declared")
    assert ledger.load(store, "declared") == driver.ledger() and path.read_text().count("\n") == 3
    with path.open("a") as file:
        file.write(path.read_text().splitlines()[1][:50])
    assert ledger.load(store, "declared") == driver.ledger()
    Driver(sweep, store).save()
    assert path.read_text().endswith("}\n") and path.read_text().count("\n") == 3


def test_files_that_others_keep_beside_a_ledger_are_no_sweeps(store, sweep):
    Driver(sweep, store).save()
    (store.root / "sweeps" / "declared.wandb.json").write_text("{}")
    assert ledger.names(store) == ["declared"]


def test_owners_name_the_row_of_a_stage_or_how_many_share_it(store, sweep):
    driver = Driver(sweep, store)
    driver.ask()
    owners, (good, bad) = driver.owners(), driver.ledger().trials
    assert owners[good.runs[1].goal] == "good, seed 1" and owners[bad.runs[0].train] == "bad, seed 0"
    assert owners[good.runs[0].stages[0]] == "shared by 4 rows"
