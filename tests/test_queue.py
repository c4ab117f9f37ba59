"""Why a job ended, when nobody but its log remembers.  With a SLURM that does: test_slurm_failures.py."""

import pytest

from smartad.cluster.queue import Queued, ended
from smartad.cluster.submission import Place, Submission

PREEMPTED = "slurmstepd-n1: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-22T03:22:03 DUE TO PREEMPTION ***\n"
SCANCEL = "slurmstepd-n1: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-22T03:22:03 ***\n"
CRASH = "Traceback (most recent call last):\n  File x\nImportError: no torch here\nsrun: error: n1: task 0: Exited\n"
OOM = "slurmstepd-n1: error: Detected 1 oom-kill event(s) in StepId=7.0. Some of your processes may have been killed\n"


@pytest.mark.parametrize("log, kind", [
    (PREEMPTED, "node"), (SCANCEL, "cancelled"), (CRASH, "error"), (OOM, "oom"), ("", "node"),
    (SCANCEL.replace("***\n", "DUE TO TIME LIMIT ***\n"), "timeout"), (PREEMPTED.replace("PREEMPTION", "NODE FAILURE"), "node"),
    (PREEMPTED + CRASH, "error"), (CRASH + SCANCEL, "cancelled"), (PREEMPTED + OOM, "oom"),
    ("OSError: [Errno 28] No space left on device\n" + CRASH, "disk")])
def test_end_of_the_log_says_why_a_job_ended(tmp_path, monkeypatch, log, kind):
    monkeypatch.setenv("PATH", str(tmp_path))  # no SLURM here
    (tmp_path / "7_0_log.err").write_text(log)
    failure = ended(Place(Submission("s-1", "slurm", "x", 0.0, (("x-1",),)), 0, tmp_path, "7"))
    assert failure.kind == kind
    assert str(tmp_path / "7_0_log.err") in failure.message
    assert kind != "error" or "ImportError: no torch here" in failure.message


@pytest.mark.parametrize("state, reason, hopeless", [
    ("PENDING", "Resources", False), ("PENDING", "JobHeldUser", False), ("PENDING", "launch failed requeued held", True),
    ("PENDING", "DependencyNeverSatisfied", True), ("PENDING", "BadConstraints", True), ("RUNNING", "None", False)])
def test_job_is_hopeless_when_it_would_wait_for_ever_and_no_person_holds_it(state, reason, hopeless):
    assert Queued("7", "s-1", 0, state, reason).hopeless() == hopeless
