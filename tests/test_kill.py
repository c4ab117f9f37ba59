"""SIGKILL at random moments: same fingerprints, same table, nothing finished is done again, nothing is lost."""

import random
import signal
import time

import pytest

from command import QUICKSTART, alive, descendants, kill, smartad, start
from smartad.store import CLAIM, Store

pytestmark = pytest.mark.slow
KILLS = 20
SMALL = ["limits.train_questions=16", "limits.questions=8", "collect.samples=10", "train.checkpoint_every=2"]
"""The quickstart with all its arms and stages, each shorter."""


def sweep(store):
    return "sweep", QUICKSTART, *SMALL, "--store", store.root


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("undisturbed") / "store")
    smartad(*sweep(store))
    return store


def results(store):
    """What must not depend on what happened on the way: the table, and every verdict and answer."""
    table = smartad("table", "quickstart", "--format", "csv", "--store", store.root).stdout
    verdicts = {f: (store.folder(f) / "verdicts.jsonl").read_text() for f in store.fingerprints() if f.startswith("grade-")}
    selected = {f: (store.folder(f) / "selected.jsonl").read_text() for f in store.fingerprints() if f.startswith("select-")}
    return table, verdicts, selected


def test_sweep_killed_at_20_random_moments_ends_as_if_nothing_had_happened(undisturbed, tmp_path):
    store, rng = Store(tmp_path / "store"), random.Random(20)
    finished: dict[str, int] = {}
    kills = 0
    while kills < KILLS:
        process = start(*sweep(store), store=store.root)
        deadline = time.monotonic() + rng.uniform(0.5, 9.0)
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        assert process.poll() in (None, 0), process.stderr.read()
        if process.poll() == 0:
            break  # finished before all the kills were spent
        below = descendants(process.pid)
        kill(process.pid)
        if kills % 2:  # every other time the whole tree at once, as when a machine goes down
            for pid in below:
                kill(pid)
        process.wait()
        kills += 1
        until = time.monotonic() + 30
        while any(alive(pid) for pid in below):
            assert time.monotonic() < until, "processes outlived their killed parent"
            time.sleep(0.05)
        now = {f: (store.folder(f) / "record.json").stat().st_mtime_ns for f in store.fingerprints()}
        assert finished.items() <= now.items(), "a finished stage was lost or done again"
        finished = now
    smartad(*sweep(store))
    assert kills >= KILLS // 2, f"only {kills} kills before it was done: make the sweep longer"
    assert finished.items() <= {f: (store.folder(f) / "record.json").stat().st_mtime_ns for f in store.fingerprints()}.items()
    assert store.fingerprints() == undisturbed.fingerprints()
    assert results(store) == results(undisturbed)
    assert all(store.verify(f) == [] for f in store.fingerprints())
    assert not list(store.root.rglob(CLAIM)) and not list(store.root.rglob("checkpoints"))


def test_sweep_interrupted_with_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path):
    store = Store(tmp_path / "store")
    process = start(*sweep(store), store=store.root)
    until = time.monotonic() + 60
    while not list(store.root.glob("collect-*")):
        assert time.monotonic() < until
        time.sleep(0.05)
    below = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped" in errors and "finished and kept" in errors and "smartad sweep" in errors and "Traceback" not in errors
    until = time.monotonic() + 30
    while any(alive(pid) for pid in below):
        assert time.monotonic() < until, "processes were left behind"
        time.sleep(0.05)
    assert not list(store.root.rglob(CLAIM))
