"""Failures of jobs on a real cluster: which class they are of, and what is done about them."""

import json
from dataclasses import replace

import pytest

from slurm_stages import SITE, STAGE, Config, Drive, spec
from smartad.cluster import Job
from smartad.cluster.queue import ended
from smartad.cluster.submission import places_of, submit
from smartad.stage import Runtime, Stage, StageSpec
from smartad.tracking import Tracking

pytestmark = pytest.mark.slow


def test_failed_parent_names_its_dependants_and_stops_nobody_else(slurm, store):
    bad = spec("bad", do="raise")
    child = spec("child", bad)
    drive = Drive(store, [spec("grandchild", child), spec("other goal", spec("other"))])
    drive.to_end()
    assert drive.states() == {"bad": "failed", "child": "blocked", "grandchild": "blocked", "other": "done", "other goal": "done"}
    failure = drive.dispatcher.failures[bad.fingerprint]
    assert (failure.kind, failure.message) == ("error", "as asked")
    assert store.failure(bad.fingerprint)["class"] == "error"
    assert slurm.jobs("PENDING") == [], "nobody waits for what will not come"


def test_job_that_slurm_refuses_fails_and_keeps_nobody_else_from_running(slurm, store):
    refused = StageSpec(Stage("train", 1, STAGE.run), Config("refused"))
    drive = Drive(store, [refused, spec("fine")], replace(SITE, stages={"train": {"partition": "nowhere"}}))
    drive.to_end()
    assert drive.states() == {"refused": "failed", "fine": "done"}
    failure = drive.dispatcher.failures[refused.fingerprint]
    assert failure.kind == "user error" and "SLURM refuses the job" in failure.message and "nowhere" in failure.message
    assert len(list(store.root.glob("jobs/*"))) == 1, "nothing is left of what was refused"


def test_job_killed_on_another_machine_is_a_failure_although_its_claim_looks_alive(slurm, store):
    goal = spec("goal", do="wait to be stopped")
    drive = Drive(store, [goal])
    drive.until(lambda: drive.started(goal))
    [(job, _)] = drive.starts(goal)
    claim = store.folder(goal.fingerprint) / ".claim"
    said = json.loads(claim.read_text())
    slurm.command("scancel", "--signal=KILL", "--full", job)
    slurm.until(lambda: not slurm.jobs(), "it is gone")
    claim.write_text(json.dumps({**said, "host": "n7", "boot": "another machine"}))  # whose processes cannot be asked
    drive.until(lambda: drive.dispatcher.attempts, within_s=30)
    claim.unlink()  # as after a minute
    drive.to_end()
    assert drive.states() == {"goal": "done"}


def test_stages_that_nobody_wants_any_more_leave_the_queue(slurm, store):
    shared, hopeless = spec("shared", seconds=5.0), spec("hopeless", do="wait to be stopped")
    goals = {name: spec(name, shared, *parents) for name, parents in {"kept": (), "stopped": (hopeless,)}.items()}
    drive = Drive(store, list(goals.values()))
    drive.until(lambda: drive.started(shared, hopeless))
    drive.dispatcher.withdraw([goals["stopped"]])
    slurm.until(lambda: len(slurm.jobs()) <= 1, "the job of the hopeless stage is gone")
    drive.to_end()
    assert drive.states() == {"shared": "done", "hopeless": "stopped", "kept": "done", "stopped": "stopped"}
    assert drive.dispatcher.failures == {} and len(drive.starts(shared)) == 1


def test_job_out_of_memory_is_tried_again_with_twice_as_much(slurm, store):
    goal = spec("goal", do="eat")
    drive = Drive(store, [goal])
    drive.to_end()
    assert drive.states() == {"goal": "done"} and store.record(goal.fingerprint)["metrics"] == {"megabytes": 700}
    memory = [slurm.command("scontrol", "show", "job", job).split("mem=")[1].split(",")[0] for job, _ in drive.starts(goal)]
    assert memory == ["512M", "1G"]


def test_job_that_will_never_fit_fails_as_out_of_memory(slurm, store):
    goal = spec("goal", do="eat")
    drive = Drive(store, [goal], replace(SITE, default={**SITE.default, "mem_gb": 0.1}))
    drive.to_end()
    failure = drive.dispatcher.failures[goal.fingerprint]
    assert failure.kind == "oom" and "log" in failure.message, failure


def test_stage_that_dies_in_a_pack_takes_nobody_with_it(slurm, store):
    specs = [spec("first"), spec("deadly", do="die"), spec("last")]
    drive = Drive(store, specs, replace(SITE, default={**SITE.default, "pack": 3}))
    drive.to_end()
    assert set(drive.states().values()) == {"done"}
    assert [len(drive.starts(s)) for s in specs] == [1, 2, 1]


def test_queue_is_never_fuller_than_the_profile_allows_packed_or_not(slurm, store):
    specs = [spec(f"stage{number}", seconds=0.1) for number in range(10)]
    drive = Drive(store, specs, replace(SITE, max_jobs=2, default={**SITE.default, "pack": 3}))
    fullest = 0

    def over():
        nonlocal fullest
        fullest = max(fullest, len(slurm.jobs()))
        return not drive.dispatcher.open()
    drive.until(over)
    assert set(drive.states().values()) == {"done"} and fullest == 2
    assert sorted(len(pack) for path in store.root.glob("jobs/*/submission.json")
                  for pack in json.loads(path.read_text())["packs"]) == [1, 3, 3, 3]


@pytest.mark.parametrize("wrong, said", [
    ({"setup": ["echo no such module >&2", "exit 3"]}, "exit code 3 before Python began: no such module"),
    ({"setup": ["echo to standard output", "exit 4"]}, "exit code 4 before Python began: to standard output"),
    ({"setup": ["exit 5"]}, "exit code 5 before Python began"),
    ({"container": "/no/such/command"}, "before Python began: cannot execute /no/such/command: No such file or directory")])
def test_job_that_fails_before_python_begins_says_with_which_words_and_is_not_tried_again(slurm, store, wrong, said):
    specs = [spec("a"), spec("b")]
    drive = Drive(store, specs, replace(SITE, default={**SITE.default, "pack": 2, **wrong}))
    drive.to_end()
    failures = [drive.dispatcher.failures[s.fingerprint] for s in specs]
    assert [failure.kind for failure in failures] == ["user error"] * 2 and f"{said}; log /" in failures[0].message, failures
    assert drive.submissions() == {"a": 1, "b": 1}




@pytest.mark.parametrize("setup", ["kill -9 $$", "exit 132", "echo 'srun: error: Task launch failed on n1' >&2; exit 1",
                                   "echo 'submitit INFO (of an earlier start) - Starting'; exit 1"])
def test_job_that_may_have_been_failed_by_its_node_is_of_class_node(slurm, store, setup):
    resources = replace(SITE.resources("grade"), setup=[setup])
    submission, _ = submit(Job(store, Runtime(), Tracking(store.root)), "slurm", [[spec("a")]], resources)
    slurm.until(lambda: not slurm.jobs(), "the job has ended")
    [place] = places_of(store, submission).values()
    failure = ended(place)
    assert failure.kind == "node" and f"job {place.job}: FAILED" in failure.message
