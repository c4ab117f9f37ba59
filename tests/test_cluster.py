"""The loop that brings a plan to its end: order, sharing, failures, several drivers, dying workers.  Real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import small_stages
from small_stages import WORKERS, Config, bring_to_end, executions, job, spec
from smartad.cluster import ClusterConfig, Dispatcher, Failure, connect
from smartad.cluster.base import RETRIES
from smartad.cluster.dispatcher import LOOKS
from smartad.runner import classify
from smartad.stage import Stage, StageSpec
from smartad.store import CLAIM, StoreError
from smartad.types import UserError


def diamond():
    root = spec("root")
    left, right = spec("left", root), spec("right", root)
    return spec("goal", left, right)


pytestmark = pytest.mark.slow
EXECUTORS = {"inline": (ClusterConfig(), 0), "workers": (ClusterConfig(), 2),
             "submitit local": (ClusterConfig(cluster="local", slots=2), None)}
NAMES = ["inline", "workers", "submitit local"]


@pytest.mark.parametrize("name", NAMES)
def test_executor_runs_a_diamond_once_each_in_order(store, name):
    """The contract of every executor."""
    goal = diamond()
    dispatcher = bring_to_end(store, [goal], *EXECUTORS[name])
    assert set(dispatcher.states.values()) == {"done"}
    assert (store.folder(goal.fingerprint) / "said").read_text() == "goalleftrootrightroot"
    assert executions(store) == {"root": 1, "left": 1, "right": 1, "goal": 1}


def test_what_is_finished_is_graded_before_more_is_begun(store):
    """So that a half-finished sweep has numbers, though other stages have a longer way to go."""
    graded = [StageSpec(Stage("grade", 1, small_stages.run), Config(f"grade {attempts.config.name}", seconds=0.0),
                        {"in": attempts}) for attempts in (spec("one"), spec("two"), spec("three"))]
    bring_to_end(store, graded, *EXECUTORS["inline"])
    ran = (store.root / "executions.log").read_text().split("\n")[:-1]
    assert ran.index("grade one") < ran.index("three") and ran[-1] == "grade three", ran


@pytest.mark.parametrize("name", NAMES)
def test_executor_reports_a_stage_that_raises_and_runs_the_rest(store, name):
    """The contract of every executor."""
    bad = spec("bad", do="raise")
    blocked, fine = spec("blocked", bad), spec("fine")
    dispatcher = bring_to_end(store, [blocked, fine], *EXECUTORS[name])
    assert {s.config.name: dispatcher.states[f] for f, s in dispatcher.specs.items()} == {
        "bad": "failed", "blocked": "blocked", "fine": "done"}
    assert dispatcher.failures[bad.fingerprint].message == "as asked"
    assert executions(store) == {"bad": 1, "fine": 1}


def test_failure_leaves_a_note_with_its_traceback_and_goes_when_it_is_mended(store):
    bad = spec("bad", do="raise")
    bring_to_end(store, [bad])
    note = store.folder(bad.fingerprint) / ".failure.log"
    assert "ValueError: as asked" in note.read_text() and store.failure(bad.fingerprint)["message"] == "as asked"
    mended = StageSpec(Stage("x", 1, lambda *a: {}), bad.config)
    assert mended.fingerprint == bad.fingerprint
    bring_to_end(store, [mended], jobs=0)
    assert store.has(bad.fingerprint) and not note.exists() and store.failure(bad.fingerprint) is None


@pytest.mark.parametrize("do, kind", [("raise", "error"), ("refuse", "user error")])
def test_failure_has_a_class(store, do, kind):
    assert bring_to_end(store, [spec("bad", do=do)]).failures.popitem()[1].kind == kind


@pytest.mark.parametrize("error, kind", [
    (ConnectionRefusedError(111, "Connection refused"), "engine"), (TimeoutError(), "engine"), (MemoryError(), "oom"),
    (FloatingPointError("loss is nan"), "nan"), (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "oom"),
    (StoreError("full"), "disk"), (UserError("mend it"), "user error"), (KeyError("x"), "error"),
    (RuntimeError("Job not requeued because: timed-out too many times."), "timeout")])
def test_class_of_a_failure_decides_whether_it_is_tried_again(error, kind):
    assert classify(error) == kind and kind in RETRIES


def test_worker_that_is_killed_once_is_replaced_and_its_stage_run_again(store):
    goal = spec("fragile", do="die once")
    assert bring_to_end(store, [goal, spec("other")]).failures == {}
    assert executions(store) == {"fragile": 2, "other": 1}


def test_idle_worker_that_is_killed_is_replaced(store):
    executor = connect(WORKERS, job(store), 2)
    dispatcher = Dispatcher(store, executor)
    first = [spec("a"), spec("b")]
    dispatcher.add(first)
    while dispatcher.open():
        dispatcher.step()
    for worker in executor.workers:
        os.kill(worker.process.pid, signal.SIGKILL)
    dispatcher.add([spec("c", *first), spec("d", *first)])
    while dispatcher.open():
        dispatcher.step()
    executor.close()
    assert dispatcher.failures == {} and len(store.fingerprints()) == 4


def test_stage_that_kills_every_worker_is_given_up_and_named(store):
    deadly = spec("deadly", do="die")
    failure = bring_to_end(store, [deadly, spec("fine")]).failures[deadly.fingerprint]
    assert failure.kind == "node" and "SIGKILL" in failure.message
    assert store.failure(deadly.fingerprint)["class"] == "node"
    assert executions(store) == {"deadly": 3, "fine": 1}


class Refusing:
    """A place where every job dies before it has begun: a node without the file system, code that cannot be imported."""

    retries = RETRIES

    def __init__(self):
        self.taken, self.ended = [], []

    def take(self, ready):
        new = list(ready)
        self.taken += new
        self.ended += new
        return new

    def in_flight(self):
        return set()

    def collect(self):
        ended, self.ended = self.ended, []
        return {spec.fingerprint: Failure("error", "No module named 'smartad'") for spec in ended}


def test_stage_that_fails_before_it_has_a_folder_is_not_tried_for_ever(store):
    executor = Refusing()
    dispatcher = Dispatcher(store, executor)
    goal = spec("never begun")
    dispatcher.add([goal])
    for _ in range(5):
        dispatcher.step()
    assert len(executor.taken) == 1 and not dispatcher.open()
    assert store.failure(goal.fingerprint)["message"] == "No module named 'smartad'"


def test_two_drivers_of_a_stage_that_fails_do_not_make_each_other_try_it_for_ever(store):
    bad = spec("bad", do="raise")
    dispatchers = [Dispatcher(store, connect(WORKERS, job(store), 0)) for _ in range(2)]
    for dispatcher in dispatchers:
        dispatcher.add([bad])
    for _ in range(40):
        for dispatcher in dispatchers:
            dispatcher.step()
    assert not any(dispatcher.open() for dispatcher in dispatchers)
    assert executions(store)["bad"] <= 3


def test_driver_that_goes_on_by_itself_keeps_final_failures_and_tries_the_others(store):
    final, passing = spec("final"), spec("passing")
    store.note_failure(final.fingerprint, "error", "as before")
    store.note_failure(passing.fingerprint, "engine", "no answer", final=False)
    dispatcher = Dispatcher(store, connect(WORKERS, job(store), 0), keep_failures=True)
    dispatcher.add([final, passing])
    for _ in range(4):
        dispatcher.step()
    assert (dispatcher.states[final.fingerprint], dispatcher.states[passing.fingerprint]) == ("failed", "done")


def test_live_driver_tries_again_what_a_person_has_retried(store):
    executor = Refusing()
    dispatcher = Dispatcher(store, executor)
    goal = spec("tried again")
    dispatcher.add([goal])
    for _ in range(3):
        dispatcher.step()
    store.forget_failure(goal.fingerprint)
    dispatcher.step()
    assert len(executor.taken) == 2 and dispatcher.open()


def test_finished_stages_cost_nothing_the_second_time(store):
    for _ in range(2):
        bring_to_end(store, [diamond()])
    assert sum(executions(store).values()) == 4


def test_independent_stages_run_side_by_side(store):
    bring_to_end(store, [spec("a", seconds=1.0), spec("b", seconds=1.0)])
    records = [store.record(f) for f in store.fingerprints()]
    begins, ends = [r["started"] for r in records], [r["started"] + r["seconds"] for r in records]
    assert max(begins) < min(ends)


DRIVE = """
import sys; sys.path.insert(0, sys.argv[2])
from pathlib import Path
from smartad.store import Store
from small_stages import bring_to_end, spec
if __name__ == "__main__":
    roots = [spec(f"root{i}") for i in range(6)]
    bring_to_end(Store(Path(sys.argv[1])), [spec(f"goal{i}", root, roots[0]) for i, root in enumerate(roots)])
"""


def test_four_drivers_on_one_plan_run_each_stage_once(store, tmp_path):
    script = tmp_path / "drive.py"
    script.write_text(DRIVE)
    drivers = [subprocess.Popen([sys.executable, str(script), str(store.root), str(Path(__file__).parent)]) for _ in range(4)]
    assert [driver.wait(timeout=120) for driver in drivers] == [0, 0, 0, 0]
    assert len(store.fingerprints()) == 12
    assert set(executions(store).values()) == {1}


def test_workers_die_with_a_driver_that_is_killed(store, tmp_path):
    script = tmp_path / "drive.py"
    script.write_text(DRIVE.replace('f"root{i}"', 'f"root{i}", seconds=60.0'))
    driver = subprocess.Popen([sys.executable, str(script), str(store.root), str(Path(__file__).parent)])
    deadline = time.time() + 60
    while sum(executions(store).values()) < 2:
        assert time.time() < deadline
        time.sleep(0.05)
    workers = [int(pid) for pid in Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()]
    driver.kill()
    driver.wait()
    while any(alive(pid) for pid in workers):
        assert time.time() < deadline, "orphaned workers"
        time.sleep(0.05)
    assert not any(store.claimed(p.name) for p in store.root.glob("x-*"))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_worker_whose_library_drops_the_first_signal_is_told_again_and_may_clean_up(store):
    stubborn = spec("a", do="drop an exception", seconds=60.0)
    executor = connect(WORKERS, job(store), 1)
    dispatcher = Dispatcher(store, executor)
    dispatcher.add([stubborn])
    folder, deadline = store.folder(stubborn.fingerprint), time.monotonic() + 60
    while not (folder / "busy").exists():
        assert time.monotonic() < deadline
        dispatcher.step()
    executor.close()
    assert (folder / "dropped").exists() and (folder / "cleaned").exists()
    assert not store.claimed(stubborn.fingerprint) and not list(store.root.rglob(CLAIM)), "it was killed"


def test_worker_has_the_asked_number_of_threads_in_its_environment(store):
    stage = Stage("x", 1, report_threads)
    goal = StageSpec(stage, Config())
    bring_to_end(store, [goal], ClusterConfig(threads=1))
    assert store.record(goal.fingerprint)["metrics"] == {"threads": 1}


def report_threads(config, inputs, out, runtime):
    return {"threads": int(os.environ["OMP_NUM_THREADS"])}


class Crowd:
    """An executor with room for everything, whose stages end when they are told to."""

    retries = RETRIES

    def __init__(self, store):
        self.store, self.started = store, {}

    def take(self, ready):
        taken = list(ready)
        self.started |= {spec.fingerprint: spec for spec in taken}
        return taken

    def end(self):
        for fingerprint in self.started:
            with self.store.claim(fingerprint) as claim:
                self.store.seal(claim, {"metrics": {}})

    def in_flight(self):
        return set(self.started)

    def collect(self):
        return {}

    def cancel(self, fingerprints):
        pass

    def close(self):
        pass


class Gone(Crowd):
    """An executor whose stages all fail, as without a model server."""

    def collect(self):
        failed, self.started = self.started, {}
        return {fingerprint: Failure("engine", "no server answers at http://gpu7\nits log") for fingerprint in failed}


def test_server_that_is_waited_for_is_told_once_with_how_long(store, monkeypatch, caplog):
    monkeypatch.setattr("smartad.cluster.dispatcher.PAUSE_S", {"engine": 0.01})
    dispatcher = Dispatcher(store, Gone(store))
    dispatcher.add([spec("a"), spec("b")])
    while dispatcher.open():
        dispatcher.step()
    assert {dispatcher.states[f] for f in dispatcher.specs} == {"failed"}
    assert [record.message for record in caplog.records] == [
        "x: no server answers at http://gpu7; this may pass, so it is tried again in 0.01 s, at most 2 times"]


def test_crowd_in_flight_is_looked_at_in_turns_and_nobody_is_forgotten(store):
    """An executor need not notice that a stage has ended: the record says so."""
    crowd = Crowd(store)
    dispatcher = Dispatcher(store, crowd)
    dispatcher.add([spec(f"stage{number}") for number in range(3 * LOOKS)])
    dispatcher.step()
    crowd.end()
    for left in (2 * LOOKS, LOOKS, 0):
        dispatcher.step()
        assert len(dispatcher.open()) == left
