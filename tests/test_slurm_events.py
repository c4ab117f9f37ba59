"""What clusters do to jobs and to their driver, done to a real one: nothing is lost, and nothing is done twice."""

import json
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from slurm_stages import SITE, Drive, spec, starts
from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.config import load
from smartad.experiment import Experiment, plan
from smartad.stage import Runtime
from smartad.store import Store
from smartad.tracking import Tracking

pytestmark = pytest.mark.slow

DRIVE = """
import sys; sys.path.insert(0, sys.argv[2])
from pathlib import Path
from smartad.store import Store
from slurm_stages import Drive
from test_slurm_events import many
if __name__ == "__main__":
    Drive(Store(Path(sys.argv[1])), many()).to_end()
"""


def many():
    """Twelve stages, six of which need the others."""
    roots = [spec(f"root{i}", seconds=1.0) for i in range(6)]
    return [spec(f"goal{i}", root, roots[0], seconds=1.0) for i, root in enumerate(roots)]


def test_driver_killed_anywhere_and_started_again_loses_no_job_and_does_none_twice(slurm, store, tmp_path):
    script = tmp_path / "drive.py"
    script.write_text(DRIVE)
    rng, kills = random.Random(3), 0
    while True:
        driver = subprocess.Popen([sys.executable, str(script), str(store.root), str(Path(__file__).parent)])
        try:
            # The first half second goes into imports; then come reading the queue, sbatch, and waiting.
            status = driver.wait(timeout=rng.uniform(0.6, 2.0) if kills < 8 else 240)
            break
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.wait()
            kills += 1
    assert status == 0 and kills >= 3
    assert len(store.fingerprints()) == 12
    assert {f: len(starts(store.folder(f))) for f in store.fingerprints()} == dict.fromkeys(store.fingerprints(), 1)


def test_requeued_job_goes_on_and_is_no_failure(slurm, store):
    goal = spec("goal", do="wait to be stopped")
    drive = Drive(store, [goal])
    drive.until(lambda: drive.started(goal))
    slurm.command("scontrol", "requeue", drive.starts(goal)[0][0])
    drive.to_end()
    assert drive.states() == {"goal": "done"} and drive.dispatcher.attempts == {}
    assert [job for job, _ in drive.starts(goal)] == [drive.starts(goal)[0][0]] * 2, "the same job, a second time"


def test_wave_of_preemption_leaves_no_failure_behind(slurm, store):
    goals = [spec(f"goal{i}", do="wait to be stopped") for i in range(12)]
    drive = Drive(store, goals)
    drive.until(lambda: drive.started(*goals))
    slurm.dev("preempt", "1")
    failed = []

    def over():
        failed.extend(note for goal in goals if (note := store.failure(goal.fingerprint)))
        return not drive.dispatcher.open()

    drive.until(over)
    assert set(drive.states().values()) == {"done"} and drive.dispatcher.attempts == {} and failed == []
    assert {len(drive.starts(goal)) for goal in goals} == {2}


def in_this_process(store, goal):
    dispatcher = Dispatcher(store, connect(ClusterConfig(), Job(store, Runtime(), Tracking(store.root)), 0))
    dispatcher.add([goal])
    while dispatcher.open():
        dispatcher.step()


def test_preempted_training_goes_on_from_its_checkpoint_as_if_nothing_had_happened(slurm, store, tmp_path):
    experiment = load(Experiment, [str(Path(__file__).parent.parent / "configs/toy.yaml"), "limits.train_questions=8",
                                   "collect.samples=10", "train.epochs=40"])
    goal = plan(experiment).train
    undisturbed = Store(tmp_path / "undisturbed").open()
    in_this_process(undisturbed, goal)
    for need in goal.upstream_first()[:-1]:
        shutil.copytree(undisturbed.folder(need.fingerprint), store.folder(need.fingerprint))
    job = Job(store, Runtime(), Tracking(store.root, ("trackio",)))
    drive = Drive(store, [goal], replace(SITE, checkpoint_every=5, default={**SITE.default, "mem_gb": 2}), job)
    folder = store.folder(goal.fingerprint)
    drive.until(lambda: list(folder.glob("checkpoints/checkpoint-1?")))
    before = time.time()
    slurm.dev("preempt", "1")
    drive.to_end()
    assert drive.dispatcher.failures == {} and drive.dispatcher.attempts == {}
    record = store.record(goal.fingerprint)
    assert record["trackers"] == {"trackio": {"status": "ok", "id": goal.fingerprint}}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = [row["step"] for row in rows if row["time"] < before]
    assert len(kept) >= 10, "what was trained before was not trained again"
    assert [row["step"] for row in rows] == list(range(1, int(record["metrics"]["steps"]) + 1))
    adapters = [{name: file["sha256"] for name, file in at.record(goal.fingerprint)["files"].items() if "adapter" in name}
                for at in (undisturbed, store)]
    assert adapters[0] == adapters[1] != {}


def test_job_that_is_told_but_cannot_requeue_itself_is_submitted_again(slurm, store, tmp_path):
    """SLURM may have requeued it before, or be away.  The stage, whose code catches whatever it can, is not to blame."""
    (tmp_path / "scontrol").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "scontrol").chmod(0o755)
    goal = spec("goal", do="wait and catch")
    drive = Drive(store, [goal], replace(SITE, default={**SITE.default, "setup": [f"export PATH={tmp_path}:$PATH"]}))
    drive.until(lambda: drive.started(goal))
    slurm.command("scancel", "--signal=USR2", drive.starts(goal)[0][0])
    drive.to_end()
    assert drive.states() == {"goal": "done"} and drive.dispatcher.attempts == {goal.fingerprint: 1}
    assert len({job for job, _ in drive.starts(goal)}) == 2


def test_job_whose_time_is_up_goes_on_in_a_new_one(slurm, store):
    """One is told and requeues itself; the other does not hear it, is killed, and is submitted again."""
    told, deaf = spec("told", do="wait to be stopped"), spec("deaf", do="be deaf")
    drive = Drive(store, [told, deaf], replace(SITE, default={**SITE.default, "timeout_min": 1}))
    drive.until(lambda: len(drive.starts(told)) > 1 and drive.dispatcher.attempts, within_s=240)
    assert list(drive.dispatcher.attempts) == [deaf.fingerprint]
    drive.to_end()
    assert drive.states() == {"told": "done", "deaf": "done"}
    assert len({job for job, _ in drive.starts(told)}) == 1 and len({job for job, _ in drive.starts(deaf)}) == 2


def test_cancelled_job_is_submitted_again(slurm, store):
    running, pending = spec("running", do="wait to be stopped"), spec("pending", seconds=1.0)
    drive = Drive(store, [running, pending], replace(SITE, default={**SITE.default, "at_once": 1}))
    drive.until(lambda: drive.started(running) or drive.started(pending))
    for job in slurm.jobs():
        slurm.command("scancel", job.id)
    drive.to_end()
    assert drive.states() == {"running": "done", "pending": "done"}


def test_job_of_a_lost_node_is_run_on_another(slurm, store):
    goal, other = spec("goal", do="wait to be stopped"), spec("other")
    drive = Drive(store, [goal, spec("child", goal), other])
    drive.until(lambda: drive.started(goal) and drive.dispatcher.states[other.fingerprint] == "done")
    lost = drive.starts(goal)[0][1]
    slurm.kill_node(lost)
    drive.to_end()
    assert set(drive.states().values()) == {"done"}
    assert [node == lost for _, node in drive.starts(goal)] == [True, False]


def test_controller_that_is_away_loses_nothing(slurm, store):
    goals = many()
    drive = Drive(store, goals)
    drive.until(lambda: drive.started(*(goal.inputs["in0"] for goal in goals)))
    started, state = time.time(), slurm.folder / "state" / "job_state"
    slurm.until(lambda: state.exists() and state.stat().st_mtime > started, "what it is killed with is written down")
    slurm.dev("controller", "kill")
    drive.until(lambda: drive.executor.in_flight() is None)
    away = time.monotonic() + 3.0
    drive.until(lambda: time.monotonic() > away)
    assert "failed" not in drive.states().values()
    slurm.dev("controller", "start")
    drive.to_end()
    assert set(drive.states().values()) == {"done"} and drive.dispatcher.attempts == {}
    assert set(drive.submissions().values()) == {1}


def test_job_that_its_owner_holds_is_waited_for_and_one_that_never_starts_is_replaced(slurm, store):
    blocker = slurm.dev("preempt", "600")
    slurm.until(lambda: slurm.jobs("RUNNING"), "the cluster is full")
    mine, never = spec("mine"), spec("never")
    drive = Drive(store, [mine, never], replace(SITE, max_array=1))
    drive.until(lambda: len(slurm.jobs("PENDING")) == 2)
    jobs = {s.config.name: drive.executor.places[s.fingerprint].element for s in (mine, never)}
    slurm.command("scontrol", "uhold", jobs["mine"])
    slurm.command("scontrol", "hold", jobs["never"])  # by an administrator
    drive.until(lambda: drive.submissions()["never"] == 2)
    slurm.command("scancel", blocker)
    drive.until(lambda: drive.dispatcher.states[never.fingerprint] == "done")
    assert drive.states() == {"mine": "running", "never": "done"} and drive.submissions() == {"mine": 1, "never": 2}
    slurm.command("scontrol", "release", jobs["mine"])
    drive.to_end()
    assert drive.states() == {"mine": "done", "never": "done"}


def test_store_that_is_away_for_a_moment_loses_nothing(slurm, store):
    """One stage does not notice, one cannot write, and one is started just then."""
    quiet, writer = spec("quiet", seconds=6.0), spec("writer", do="write", seconds=6.0)
    late = spec("late")
    drive = Drive(store, [quiet, writer, late], replace(SITE, max_array=1))
    drive.until(lambda: drive.started(quiet, writer))
    elsewhere = store.root.with_name("elsewhere")
    store.root.rename(elsewhere)
    until = time.monotonic() + 3.0
    drive.until(lambda: time.monotonic() > until)
    assert drive.dispatcher.away and not store.root.exists(), "nobody has made it anew"
    elsewhere.rename(store.root)
    drive.to_end()
    assert drive.states() == {"quiet": "done", "writer": "done", "late": "done"} and len(drive.starts(quiet)) == 1
