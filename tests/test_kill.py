"""SIGKILL at random moments: same fingerprints, same table, nothing finished is done again, nothing is lost."""

import random
import signal
import time

import pytest

from command import QUICKSTART, alive, descendants, kill, smartad, start
from smartad.store import CLAIM, Store
from smartad.sweep import ledger

pytestmark = pytest.mark.slow
KILLS = 20
SMALL = ["limits.train_questions=16", "limits.questions=8", "collect.samples=10"]
"""The quickstart with all its arms and stages, each shorter."""


def sweep(store):
    profile = store.root.parent / "often.yaml"
    profile.write_text("{slots: 2, checkpoint_every: 2}")
    return "sweep", QUICKSTART, *SMALL, "--cluster", profile, "--store", store.root


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("undisturbed") / "store")
    smartad(*sweep(store))
    return store


def results(store):
    """What must not depend on what happened on the way: the table, and every verdict and answer."""
    (name,) = ledger.names(store)
    table = smartad("table", name, "--format", "csv", "--store", store.root).stdout
    verdicts = {f: (store.folder(f) / "verdicts.jsonl").read_text() for f in store.fingerprints() if f.startswith("grade-")}
    selected = {f: (store.folder(f) / "selected.jsonl").read_text() for f in store.fingerprints() if f.startswith("select-")}
    return table, verdicts, selected


def finished(store):
    """When each finished stage was sealed."""
    return {f: (store.folder(f) / "record.json").stat().st_mtime_ns for f in store.fingerprints()}


def killed_at(store, seconds, whole_tree):
    """Start the sweep and SIGKILL it after ``seconds``: the driver alone, or all its processes at once, as when a machine
    goes down.  False when it had finished before."""
    before = finished(store)
    process = start(*sweep(store), store=store.root)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    if process.poll() is not None:
        assert process.returncode == 0, process.stderr.read()
        return False
    below = descendants(process.pid)
    for pid in [process.pid, *(below if whole_tree else [])]:
        kill(pid)
    process.communicate()
    until = time.monotonic() + 30
    while any(alive(pid) for pid in below):
        assert time.monotonic() < until, "processes outlived their killed parent"
        time.sleep(0.05)
    assert before.items() <= finished(store).items(), "a finished stage was lost or done again"
    return True


def test_sweep_killed_at_20_random_moments_ends_as_if_nothing_had_happened(undisturbed, tmp_path):
    rng, kills, stores = random.Random(20), 0, []
    while kills < KILLS:
        stores.append(Store(tmp_path / f"store{len(stores)}"))
        while kills < KILLS and killed_at(stores[-1], rng.uniform(0.5, 9.0), whole_tree=bool(kills % 2)):
            kills += 1
        before = finished(stores[-1])
        smartad(*sweep(stores[-1]))
        assert before.items() <= finished(stores[-1]).items(), "a finished stage was done again"
    for store in stores:
        assert store.fingerprints() == undisturbed.fingerprints()
        assert results(store) == results(undisturbed)
        assert all(store.verify(f) == [] for f in store.fingerprints())
        assert not list(store.root.rglob(CLAIM)) and not list(store.root.rglob("checkpoints"))


def test_sweep_interrupted_with_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path):
    store = Store(tmp_path / "store")
    process = start(*sweep(store), store=store.root)
    until = time.monotonic() + 60
    while not list(store.root.glob("collect-*/trajectories.jsonl")):  # in the middle of a stage
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
