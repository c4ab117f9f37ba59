"""What is wrong with a site's profile, seen on a real cluster: it is said with the job's own words, and not tried for ever."""

from dataclasses import replace

import pytest

from smartad.cluster import Job
from smartad.cluster.queue import ended
from smartad.cluster.submission import places_of, submit
from smartad.stage import Runtime, Stage, StageSpec
from smartad.tracking import Tracking
from test_slurm_events import SITE, Config, Drive, run, spec

pytestmark = pytest.mark.slow


def test_job_that_slurm_refuses_fails_and_keeps_nobody_else_from_running(slurm, store):
    refused = StageSpec(Stage("train", 1, run), Config("refused"))
    drive = Drive(store, [refused, spec("fine")], replace(SITE, stages={"train": {"partition": "nowhere"}}))
    drive.to_end()
    assert drive.states() == {"refused": "failed", "fine": "done"}
    failure = drive.dispatcher.failures[refused.fingerprint]
    assert failure.kind == "user error" and "SLURM refuses the job" in failure.message and "nowhere" in failure.message
    assert len(list(store.root.glob("jobs/*"))) == 1, "nothing is left of what was refused"


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
