"""Proposers: the contract of all, what each refuses, and W&B's.  What is particular to Optuna is in test_proposers_optuna."""

import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from conftest import ROOT
from proposer_cases import ALL, BOTH, CASES, GRIDS, LISTED, MIXED, RANGES, SERVER, declare, go, known, outcome, proposer_of, score
from smartad.config import ConfigError
from smartad.sweep import proposers
from smartad.sweep.space import Outcome, Trial
from smartad.tracking import wandb_sweeps
from smartad.types import UserError
from wandb_double import KEY, WandbDouble

pytestmark = pytest.mark.slow

EVERYONE = [*CASES, *SERVER]
SEVERAL = ["tpe", "random", "nsga2", "gp"]


@pytest.fixture
def start(request, tmp_path):
    """Makes the proposer of a case."""
    def proposer(case, **keys):
        if case in SERVER:
            request.getfixturevalue("server")
        made.append(proposer_of(case, tmp_path, tmp_path / "store" / "sweeps" if case in SERVER else None, **keys))
        return made[-1]
    made = []
    yield proposer
    for run in [run for one in made if "server" in vars(one) for run in one.server.live.values()]:
        run.finish()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A double of W&B's server that this process is set up for.  One for all tests: the SDK looks only once where it is."""
    import wandb
    wandb.teardown()
    with pytest.MonkeyPatch.context() as patch, WandbDouble() as double:
        for name in ("CACHE_DIR", "DATA_DIR", "ARTIFACT_DIR", "DIR"):
            patch.setenv(f"WANDB_{name}", str(tmp_path_factory.mktemp(name)))
        for name, value in {"BASE_URL": double.url, "API_KEY": KEY, "SILENT": "true", "ERROR_REPORTING": "false"}.items():
            patch.setenv(f"WANDB_{name}", value)
        patch.delenv("WANDB_MODE", raising=False)
        yield double
        wandb.teardown()


def test_every_proposer_is_held_to_the_contract():
    assert {backend for backend, _, _ in ALL.values()} | {"wandb"} == set(proposers.names())


@pytest.mark.parametrize("case", EVERYONE)
def test_proposer_asks_only_for_what_the_space_allows(start, case):
    proposer, space = start(case), ALL[case][2]
    for trial in go(proposer, 6):
        assert list(trial.values) == list(space)
        for key, allowed in space.items():
            value = trial.values[key]
            if isinstance(allowed, list):
                assert value in allowed and type(value) is type(allowed[0])
            else:
                assert allowed["low"] <= value <= allowed["high"] and type(value) is type(allowed["low"])
        assert trial.label == ", ".join(f"{key}={value}" for key, value in trial.values.items())


@pytest.mark.parametrize("case", EVERYONE)
def test_proposer_proposes_apart_while_nothing_is_told(start, case):
    proposer = start(case)
    assert len({proposer.ask().label for _ in range(6)}) == 6


@pytest.mark.parametrize("case", EVERYONE)
def test_proposer_takes_failures_stops_and_trials_it_never_asked_for(start, case):
    proposer = start(case)
    for told in (Outcome("done", (1.0,)), Outcome("stopped", (0.5,)), Outcome("stopped"), Outcome("failed")):
        proposer.tell(known(case), told)
    go(proposer, 4)
    assert proposer.ask() is not None


@pytest.mark.parametrize("case", EVERYONE)
def test_proposer_takes_a_trial_that_failed_and_was_tried_again(start, case):
    proposer = start(case)
    trial = proposer.ask()
    proposer.tell(trial, Outcome("failed"))
    proposer.tell(trial, Outcome("done", (1.0,)))
    assert proposer.ask() is not None


@pytest.mark.parametrize("case", CASES)
def test_proposer_proposes_the_same_again_after_the_same_outcomes(start, case):
    random.seed(1)
    np.random.seed(1)
    first = go(start(case), 6)
    random.seed(2)
    np.random.seed(2)
    assert go(start(case), 6) == first


@pytest.mark.parametrize("case", CASES)
def test_proposer_draws_no_random_numbers_of_others(start, case):
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.random()
    random.seed(1)
    np.random.seed(1)
    go(start(case), 3)
    assert (random.random(), np.random.random()) == expected


@pytest.mark.parametrize("case", [case for case in CASES if case != "grid"])
def test_proposer_that_is_killed_goes_on_as_if_it_had_not_been(start, case):
    whole = go(start(case), 6)
    again = start(case)
    for number, trial in enumerate(whole[:4]):
        again.tell(trial, outcome(trial, number))
    assert go(again, 2, first=4) == whole[4:]


@pytest.mark.parametrize("case", GRIDS)
def test_grid_ends_after_each_point_once(start, case):
    proposer = start(case)
    labels = [trial.label for trial in go(proposer, 6)]
    assert len(set(labels)) == 6 and proposer.ask() is None
    restarted = start(case)
    asked = {trial.label for trial in iter(restarted.ask, None)}
    assert asked == set(labels)


@pytest.mark.parametrize("case", SEVERAL)
def test_search_for_several_objectives_takes_as_many_numbers(start, case):
    told = [Outcome("done", (2.0, 1.0)), Outcome("stopped", (0.0,)), Outcome("failed"), Outcome("done", (1.0, 2.0))]
    whole = go(start(case, objectives=BOTH), 10, tell=lambda trial, number: told[number % 4])
    assert len({trial.label for trial in whole}) == 10
    again = start(case, objectives=BOTH)
    for number, trial in enumerate(whole[:8]):
        again.tell(trial, told[number % 4])
    assert go(again, 2, tell=lambda trial, number: told[number % 4]) == whole[8:]


@pytest.mark.parametrize("case", [case for case in (*CASES, *SERVER) if case not in (*SEVERAL, "grid")])
def test_search_for_one_objective_refuses_several(start, case):
    with pytest.raises(ConfigError, match="searches for one objective, not for avg, pass@1/toy_qa; .* nsga2"):
        start(case, objectives=BOTH)


@pytest.mark.parametrize("case", sorted({"tpe", "cmaes", "gp", "wandb-bayes"} & CASES.keys()))
def test_search_prefers_what_scored_well(start, case):
    trials = go(start(case, trials=40), 40, tell=lambda trial, _: Outcome("done", (score(trial),)))
    assert sum(map(score, trials[-15:])) / 15 > sum(map(score, trials[:15])) / 15 + 0.1


REFUSED = [
    ("grid", {"seed": 1}, LISTED, "options.seed: backend grid has no such option; there are none"),
    ("grid", {}, RANGES, "train.weights.final: a grid needs a list of values, .* backend: optuna"),
    ("optuna", {"sampeler": "tpe"}, MIXED, "options.sampeler: .* there are sampler, seed, startup, population"),
    ("optuna", {"sampler": "tpx"}, MIXED, r"'tpx', expected one of \['tpe', 'random', 'cmaes'"),
    ("optuna", {"sampler": "random", "startup": 3}, MIXED, "startup=3: sampler random has none; tpe, cmaes, gp have"),
    ("optuna", {"sampler": "nsga2", "population": 1}, MIXED, "population must be at least 4, got 1"),
    ("optuna", {"sampler": "cmaes"}, MIXED, "cmaes searches ranges, .* select.rule is a list; use tpe"),
    ("wandb", {"method": "tpe"}, MIXED, r"'tpe', expected one of \['grid', 'random', 'bayes'\]"),
    ("wandb", {"method": "grid"}, RANGES, "train.weights.final: a grid needs a list of values, .* options.method: bayes"),
]


@pytest.mark.parametrize(("backend", "options", "space", "words"), REFUSED)
def test_proposer_refuses_what_it_cannot_search(tmp_path, backend, options, space, words):
    with pytest.raises(ConfigError, match=words):
        proposers.of(declare(tmp_path, backend=backend, options=options, space=space, trials=3))


@pytest.mark.parametrize("case", [case for case in CASES if case not in GRIDS])
def test_search_without_an_end_is_refused(start, case):
    with pytest.raises(ConfigError, match="needs `trials`"):
        start(case, trials=None)


@pytest.mark.parametrize(("case", "package", "command"), [("gp", "scipy", r"pip install 'scipy>=1.13'"),
                                                          ("cmaes", "cmaes", "pip install 'cmaes>=0.12'"),
                                                          ("wandb-bayes", "sweeps", r"pip install 'smartad\[wandb-sweeps\]'")])
def test_search_whose_package_is_missing_says_how_to_get_it(tmp_path, monkeypatch, case, package, command):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    backend, options = ("wandb", {}) if package == "sweeps" else CASES[case][:2]
    with pytest.raises(ConfigError, match=command):
        proposers.of(declare(tmp_path, backend=backend, options=options, space=RANGES, trials=3))


def test_grid_is_the_whole_product_with_arms_first(tmp_path):
    sweep = declare(tmp_path, arms={"a": {}, "b": {"select.rule": "max"}}, space={"select.first": [1, 5]})
    proposer = proposers.of(sweep)
    labels = [proposer.ask().label for _ in range(4)]
    assert proposer.ask() is None
    assert labels == ["a, select.first=1", "a, select.first=5", "b, select.first=1", "b, select.first=5"]
    assert sweep.experiment(Trial("b", {"arm": "b", "select.first": 5}), seed=3).select.rule == "max"


def summary(run):
    return {key: value for key, value in json.loads(run.summaryMetrics).items() if not key.startswith("_")}


def test_server_sweep_is_told_each_outcome_as_its_runs_summary(start, server):
    proposer = start("server-bayes", direction="minimize")
    trials = go(proposer, 3)
    sweep = server.sweeps[proposer.server.address.id]
    assert sweep.config["method"] == "bayes" and sweep.config["metric"] == {"name": "avg", "goal": "minimize"}
    assert sweep.config["parameters"]["train.rank"] == {"distribution": "q_log_uniform_values", "q": 1, "min": 1, "max": 64}
    runs = [run for run in server.runs.values() if run.sweep == proposer.server.address.id]
    assert [run.displayName for run in runs] == [trial.label for trial in trials]
    told = [{"outcome": "done", "avg": score(trials[0])}, {"outcome": "stopped"}, {"outcome": "failed"}]
    assert [summary(run) for run in runs] == told
    assert [run.exitcode for run in runs] == [0, 1, 1]
    assert server.unknown == []


# Tells two trials, asks for a third, is given a fourth by the server, and dies before it knows.  argv: sweep file, folder
KILLED = """
import os, signal, sys
from pathlib import Path
from smartad.sweep import proposers
from smartad.sweep.driver import Driver
from smartad.sweep.importances import importances
from smartad.sweep.ledger import Ledger, LedgerTrial, Run
from smartad.sweep.space import Outcome, read
proposer = proposers.of(read(sys.argv[1]), Path(sys.argv[2]))
for told in (Outcome("done", (1.0,)), Outcome("failed")):
    trial = proposer.ask()
    proposer.tell(trial, told)
    print(trial.label)
print(proposer.ask().label)
print(", ".join(f"{key}={arg['value']}" for key, arg in proposer.server.next_run().args.items()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_server_sweep_goes_on_after_a_kill_without_asking_again_for_what_is_known(start, server, tmp_path):
    again = start("server")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "declared.yaml"), str(tmp_path / "store/sweeps")],
                            env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    done, _, asked, lost = killed.stdout.splitlines()[-4:]
    again.tell(Trial(done, {}), Outcome("done", (1.0,)))
    assert [trial.label for trial in iter(again.ask, None)][:2] == [asked, lost]
    runs = [run for run in server.runs.values() if run.sweep == again.server.address.id]
    assert len(runs) == 6 and again.server.live.keys() == {run.name for run in runs[2:]}
    assert [summary(run) for run in runs[:3]] == [{"outcome": "done", "avg": 1.0}, {"outcome": "failed"}, {}]


def test_server_sweep_hears_of_a_trial_that_failed_and_was_tried_again(start, server):
    proposer = start("server")
    trial = proposer.ask()
    for told in (Outcome("failed"), Outcome("failed"), Outcome("done", (2.0,))):
        proposer.tell(trial, told)
    (run,) = [run for run in server.runs.values() if run.sweep == proposer.server.address.id]
    assert summary(run) == {"outcome": "done", "avg": 2.0} and run.exitcode == 0


def test_server_sweep_that_searches_something_else_is_another_one(start):
    assert start("server").server.address.id != start("server", space={"select.rule": ["min"]}).server.address.id


def test_server_sweep_that_was_deleted_there_is_named(start, server, tmp_path):
    del server.sweeps[start("server").server.address.id]
    with pytest.raises(UserError, match=f"no longer there; .* remove {tmp_path}/store/sweeps/declared.wandb"):
        start("server").ask()


def test_server_sweep_that_is_paused_is_left_with_a_word(start, server, caplog, monkeypatch):
    monkeypatch.setattr(wandb_sweeps, "BEAT_S", 0.01)
    proposer = start("server")
    server.sweeps[proposer.server.address.id].paused = True
    assert proposer.ask() is None and "is it paused?" in caplog.text


def test_server_that_does_not_answer_is_named(start, server, monkeypatch):
    proposer = start("server")
    assert proposer.ask()
    monkeypatch.setattr(wandb_sweeps, "RETRIES_S", (0.01,))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(UserError, match=r"http://127.0.0.1:9 does not answer .* backend: wandb"):
        proposer.ask()


@pytest.mark.parametrize("mode", ["offline", "disabled", ""])
def test_server_sweep_without_a_key_is_refused_with_the_way_out(monkeypatch, tmp_path, mode):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", mode)
    with pytest.raises(ConfigError, match=r"needs the server, and W&B is .* here: `wandb login`, .* backend: wandb"):
        proposers.of(declare(tmp_path, backend="wandb_server", space=MIXED, trials=3))


def test_server_sweep_is_planned_without_asking_the_server(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    proposer = proposers.of(declare(tmp_path, backend="wandb_server", space=MIXED, trials=3))
    assert [trial.values["train.rank"] for trial in iter(proposer.ask, None)] == [1, 64]
