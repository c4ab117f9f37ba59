"""Optuna: the study file, the dashboard on it, and what a sweep's scores depend on."""

import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from functools import partial

import optuna
import pytest

from proposer_cases import BOTH, MIXED, declare, go, outcome, proposer_of, score
from smartad.sweep import proposers
from smartad.sweep.driver import Driver
from smartad.sweep.importances import importances
from smartad.sweep.ledger import Ledger, LedgerTrial, Run
from smartad.sweep.space import Outcome


@pytest.fixture
def start(tmp_path):
    """Makes the proposer of a case."""
    return partial(proposer_of, tmp_path=tmp_path)


def test_value_that_is_no_scalar_comes_back_as_declared(tmp_path):
    weights = [{"reason": 1.0, "action": 1.0, "final": 1.0}, {"reason": 1.0, "action": 1.5, "final": 2.0}]
    proposer = proposers.of(declare(tmp_path, backend="optuna", trials=9, space={"train.weights": weights}))
    trials = go(proposer, 9, tell=lambda trial, number: Outcome("done", (1.0,)))
    assert {trial.values["train.weights"]["final"] for trial in trials} == {1.0, 2.0}


def study(folder):
    path = str(folder / "declared.optuna.log")
    backend = optuna.storages.journal.JournalFileBackend(path, optuna.storages.journal.JournalFileOpenLock(path))
    return optuna.load_study(study_name="declared", storage=optuna.storages.JournalStorage(backend))


def test_study_file_holds_every_trial_with_its_label_and_how_it_ended(start, tmp_path):
    proposer = start("tpe", folder=tmp_path / "sweeps")
    trials = [*go(proposer, 3), proposer.ask()]
    shown = study(tmp_path / "sweeps")
    assert [trial.user_attrs["label"] for trial in shown.trials] == [trial.label for trial in trials]
    assert [trial.params for trial in shown.trials] == [trial.values for trial in trials]
    assert [trial.state.name for trial in shown.trials] == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    assert shown.trials[0].value == score(trials[0]) and shown.trials[1].intermediate_values == {1: -1.0}
    assert shown.metric_names == ["avg"]


@pytest.mark.parametrize("case", ["tpe", "cmaes", "nsga2"])
def test_study_file_is_written_anew_after_a_kill_that_tore_it(start, tmp_path, case):
    first = start(case, folder=tmp_path)
    trials = [*go(first, 4), first.ask()]
    path = tmp_path / "declared.optuna.log"
    path.write_bytes(path.read_bytes()[:-20])
    path.with_name(path.name + ".lock").touch()
    again = start(case, folder=tmp_path)
    assert path.exists(), "nothing is touched before there is something to show"
    for number, trial in enumerate(trials[:4]):
        again.tell(trial, outcome(trial, number))
    assert again.ask() == trials[4]
    assert [trial.user_attrs["label"] for trial in study(tmp_path).trials] == [trial.label for trial in trials]
    assert [trial.state.name for trial in study(tmp_path).trials] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE", "RUNNING"]


def test_study_file_that_cannot_be_written_does_not_stop_the_search(start, tmp_path, caplog):
    (tmp_path / "declared.optuna.log").mkdir()
    trials = go(start("tpe", folder=tmp_path), 4)
    assert trials == go(start("tpe"), 4)
    assert [record.message.partition(" (")[0] for record in caplog.records] == [
        f"{tmp_path}/declared.optuna.log is no longer kept up to date"]


def test_study_deleted_in_the_dashboard_does_not_stop_the_search(start, tmp_path, caplog):
    proposer = start("tpe", folder=tmp_path)
    go(proposer, 2)
    optuna.delete_study(study_name="declared", storage=study(tmp_path)._storage)
    go(proposer, 2)
    assert "no longer kept up to date" in caplog.text


@pytest.mark.slow
def test_optuna_dashboard_opens_the_study_file(start, tmp_path):
    proposer = start("nsga2", folder=tmp_path, objectives=BOTH)
    trials = go(proposer, 3, tell=lambda trial, number: Outcome("done", (1.0 * number, 2.0)))
    trials.append(proposer.ask())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [os.path.join(os.path.dirname(sys.executable), "optuna-dashboard"), str(tmp_path / "declared.optuna.log")]
    server = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)

    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return response.read()

    def up():
        try:
            return get("/dashboard")
        except OSError:
            assert server.poll() is None
            return None
    try:
        deadline = time.monotonic() + 60
        while not (page := up()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert b"<title>Optuna Dashboard</title>" in page
        (summary,) = json.loads(get("/api/studies"))["study_summaries"]
        assert summary["study_name"] == "declared"
        shown = json.loads(get(f"/api/studies/{summary['study_id']}"))
        assert shown["objective_names"] == ["avg", "pass@1/toy_qa"] and shown["directions"] == ["maximize", "minimize"]
        assert [trial["user_attrs"][0]["value"] for trial in shown["trials"]] == [trial.label for trial in trials]
        assert [trial["state"] for trial in shown["trials"]] == ["Complete"] * 3 + ["Running"]
    finally:
        server.terminate()
        server.wait(20)


def test_driver_shows_its_study_beside_the_ledger_and_a_plan_shows_nothing(tmp_path, store):
    sweep = declare(tmp_path, backend="optuna", space=MIXED, trials=3, parallel=3)
    Driver(sweep, store, dry_run=True).ask()
    assert not (store.root / "sweeps").exists()
    driver = Driver(sweep, store)
    driver.ask()
    assert [trial.user_attrs["label"] for trial in study(store.root / "sweeps").trials] == list(driver.rows)


def finished(store, n, **scores):
    """A ledger of ``n`` finished trials over MIXED; each metric's score is a function of the trial's values."""
    rng, trials = random.Random(0), []
    for number in range(n):
        values = {"select.rule": rng.choice(["min", "max"]), "train.weights.final": rng.uniform(1, 4),
                  "train.rank": rng.randint(1, 64)}
        goal = f"aggregate-{number:012x}"
        with store.claim(goal) as claim:
            store.seal(claim, {"metrics": {name: score(values) for name, score in scores.items()}})
        trials.append(LedgerTrial(f"trial {number}", values, (Run(0, goal, None, (goal,), ((),)),)))
    config = {"arms": {}, "space": MIXED, "metric": "avg", "direction": "maximize",
              "objectives": dict.fromkeys(scores, "maximize") if len(scores) > 1 else {}}
    return Ledger("declared", config, {}, tuple(trials))


def test_importances_name_the_key_that_matters(store):
    book = finished(store, 40, avg=lambda values: values["train.weights.final"] + 0.01 * (values["select.rule"] == "min"))
    found = importances(store, book)
    assert next(iter(found)) == "train.weights.final" and found["train.weights.final"] > 0.8
    assert found.keys() == MIXED.keys() and sum(found.values()) == pytest.approx(1)


def test_importances_of_several_objectives_are_of_their_best_compromises(store):
    book = finished(store, 40, **{"avg": lambda values: -abs(values["train.rank"] - 8), "pass@1/toy_qa": lambda values: 1.0})
    assert next(iter(importances(store, book))) == "train.rank"


@pytest.mark.parametrize(("n", "score"), [(9, lambda values: values["train.rank"]), (40, lambda values: 1.0)])
def test_importances_say_nothing_that_was_not_measured(store, n, score):
    assert importances(store, finished(store, n, avg=score)) == {}
