"""A W&B that fails in the middle of a sweep: the sweep ends as without it, its records say so, and publish makes it good."""

import pytest

import small_sweeps
from command import smartad
from conftest import ROOT
from online import online
from smartad.store import Store
from smartad.tracking import Tracking
from wandb_double import KEY, Trouble, WandbDouble

pytestmark = pytest.mark.slow

PATIENCE_S = 4.0
HOUR_S = 3600
TROUBLES = {"refuses": Trouble((401, 403, 402)), "has no quota left": Trouble((429,), HOUR_S), "fails": Trouble((500, 502, 503)),
            "never answers": None, "is gone": None}


def declare(tmp_path):
    one = "benchmarks={in_domain: [toy_math], out_of_domain: []}"
    return small_sweeps.declare(tmp_path, base=[str(ROOT / "configs/toy.yaml"), one], space={"train.weights.final": [20, 30]})


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The sweep's store without any tracker."""
    folder = tmp_path_factory.mktemp("alone")
    store = Store(folder / "store").open()
    small_sweeps.run(declare(folder), store)
    return store


def results(store):
    """What every record says of the stage itself."""
    return {f: (store.record(f)["identity"], store.record(f)["metrics"], {
        name: file["sha256"] for name, file in store.record(f)["files"].items() if name != "machine.jsonl"})
        for f in store.fingerprints()}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_wandb_that_goes_wrong_in_the_middle_of_a_sweep_changes_nothing(alone, store, tmp_path, monkeypatch, trouble):
    sweep = declare(tmp_path)
    with WandbDouble() as server, WandbDouble() as later:
        for name, value in online(server, tmp_path).items():
            monkeypatch.setenv(name, value)

        def begin(driver):
            if sum(run.state == "finished" for run in server.runs.values()) < 2:
                return
            if trouble == "never answers":
                server.silent.set()
            elif trouble == "is gone":
                server.close()
            else:
                server.trouble = TROUBLES[trouble]

        small_sweeps.run(sweep, store, begin, tracking=Tracking(store.root, ("wandb",), sweep.name, PATIENCE_S))
        assert results(store) == results(alone)
        told = [store.record(f)["trackers"]["wandb"] for f in store.fingerprints()]
        behind = [status["reason"] for status in told if status["status"] == "behind"]
        assert len(behind) >= len(told) / 2 and all(behind) and KEY not in str(behind)
        server.trouble = None
        again = later if trouble in ("is gone", "never answers") else server
        assert "0 wrong" in smartad("publish", sweep.name, "--to", "wandb", store=store.root, **online(again, tmp_path)).stdout
        assert {f: set(again.runs[f].used) for f in store.fingerprints()} == {
            f: set(store.record(f)["identity"]["inputs"].values()) for f in store.fingerprints()}
