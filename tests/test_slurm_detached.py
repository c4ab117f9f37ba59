"""A driver that is a SLURM job itself, on a real cluster: what the desk refuses, what it survives, and how its end is seen."""

import json

import pytest
import yaml

from code_checkout import commit, run
from command import kill, smartad
from smartad.cluster import Job, Resources
from smartad.cluster.queue import queue
from smartad.cluster.slurm import GRACE_S
from smartad.cluster.submission import recent, submit_driver
from smartad.stage import Runtime
from smartad.sweep import ledger
from smartad.tracking import Tracking
from wandb_double import KEY, WandbDouble

pytestmark = pytest.mark.slow
PROFILE = "cluster: slurm\npoll_s: 0.5\ndefault: {timeout_min: 10, mem_gb: 1, signal_s: 20}\n"


def detach(checkout, store, files, *words, **options):
    """What `smartad sweep --detach` says."""
    return run(checkout, store, "sweep", files / "one.yaml", "--cluster", files / "profile.yaml", "--detach", "--track", "none",
               *words, **options)


def status(checkout, store):
    """What `smartad status` says, on one line."""
    return " ".join(run(checkout, store, "status", "one").stdout.split())


def driver_of(slurm):
    """The driver's job."""
    return next((job for job in slurm.jobs() if job.name.startswith("sweep.")), None)


def submissions(store):
    """The fingerprints of every submission, one after the other."""
    read = [json.loads(path.read_text()) for path in store.root.glob("jobs/*/submission.json")]
    return [fingerprint for submission in read for pack in submission["packs"] for fingerprint in pack]


def until_ended(slurm, job):
    slurm.until(lambda: slurm.state(job) == "COMPLETED", "the driver's job has ended", within_s=300)


def test_detached_driver_is_a_job_that_is_requeued_and_finishes_the_sweep(slurm, store, files, checkout):
    commit(checkout)
    assert "you may log out" in detach(checkout, store, files).stdout
    slurm.until(lambda: store.locked("sweeps/one"), "the driver runs")
    (files / "one.yaml").write_text("arms: {}")  # what is edited after the submission is not in it
    (files / "profile.yaml").unlink()
    driver = driver_of(slurm)
    assert "driven already" in run(checkout, store, "sweep", store.root / "sweeps/one/one.yaml", status=2).stderr
    slurm.until(lambda: store.fingerprints(), "something is done")
    slurm.command("scontrol", "requeue", driver.id)
    until_ended(slurm, driver.id)
    assert [f for f in store.fingerprints() if f.startswith("aggregate-")]
    assert "base student" in run(checkout, store, "table", "one").stdout
    assert "complete" in status(checkout, store)
    start = ledger.load(store, "one").start
    assert start.words[:2] == ("sweep", f"{files}/one.yaml") and start.folder == str(checkout) and start.cluster == "slurm"


def kill_driver(slurm, store):
    """SIGKILL the smartad process in the driver's job, and wait for the next one there.  The job."""
    driver, killed = driver_of(slurm), store.locked("sweeps/one")
    kill(killed["pid"])
    slurm.until(lambda: (store.locked("sweeps/one") or killed)["pid"] != killed["pid"], "the job has started it again")
    assert store.locked("sweeps/one")["job"] == killed["job"] == driver.id
    return driver.id


def test_detached_driver_that_is_killed_is_started_again_in_its_job_and_does_nothing_twice(slurm, store, files, checkout):
    commit(checkout)
    detach(checkout, store, files)
    slurm.until(lambda: store.fingerprints(), "something is done")
    until_ended(slurm, kill_driver(slurm, store))
    stages = ledger.load(store, "one").stages()
    assert sorted(submissions(store)) == sorted(stages) and all(store.has(f) for f in stages)
    assert "complete" in status(checkout, store)


def test_detached_driver_that_is_started_again_in_its_job_keeps_what_has_failed(slurm, store, files, checkout):
    commit(checkout)
    stages = {"index": {"setup": ["exit 3"]}, "prepare": {"setup": [f"until test -e {files}/go; do sleep 0.2; done"]}}
    (files / "profile.yaml").write_text(PROFILE + yaml.safe_dump({"stages": stages}))
    detach(checkout, store, files)
    slurm.until(lambda: any(note and note["final"] for note in map(store.failure, submissions(store))), "one has failed for good")
    slurm.until(lambda: not recent(store, GRACE_S), "its job would not be taken for one that is about to be queued")
    job = kill_driver(slurm, store)
    (files / "go").touch()
    until_ended(slurm, job)
    assert [f.partition("-")[0] for f in submissions(store)].count("index") == 1
    said = status(checkout, store)
    assert f"its driver, job {job}, has ended: 1 stage(s) failed, " in said and "exit code 3 before Python began" in said


def test_second_driver_is_refused_while_the_first_waits_and_while_it_runs(slurm, store, files, checkout):
    commit(checkout)
    blocker = slurm.dev("preempt", "600")
    slurm.until(lambda: slurm.jobs("RUNNING"), "the cluster is full")
    detach(checkout, store, files)
    driver = driver_of(slurm)
    said = status(checkout, store)
    assert said.startswith(f"one: yet to begin its driver is job {driver.id}: ")
    refused = detach(checkout, store, files, status=2).stderr
    assert f"in the queue already, job {driver.id}" in refused and "cancel one" in refused
    slurm.command("scancel", blocker)
    slurm.until(lambda: store.locked("sweeps/one"), "the driver runs")
    refused = detach(checkout, store, files, status=2).stderr
    assert f"SLURM job {driver.id}" in refused and "status one --live" in refused and "cancel one" in refused
    assert len([job for job in slurm.jobs() if job.name.startswith("sweep.")]) == 1
    assert "has stopped what it ran, and ended" in run(checkout, store, "cancel", "one").stdout


def test_driver_that_sbatch_refuses_is_refused_at_the_desk(slurm, store, files, checkout):
    commit(checkout)
    (files / "profile.yaml").write_text(PROFILE + "driver: {partition: nowhere}\n")
    refused = detach(checkout, store, files, status=2).stderr
    assert "SLURM refuses the driver's job" in refused and "nowhere" in refused
    assert f"`driver` and `default` in {files}/profile.yaml" in refused
    assert slurm.jobs() == [] and list(store.root.glob("jobs/*")) == []


def test_data_that_is_missing_is_named_before_the_driver_is_submitted(slurm, store, files, checkout):
    commit(checkout)
    refused = detach(checkout, store, files, "benchmarks.in_domain=[aime]", f"data={files}/nothing", status=2).stderr
    assert f"not in {files}/nothing" in refused and "aime" in refused and "data=FOLDER" in refused
    assert slurm.jobs() == [] and not (store.root / "jobs").exists()


@pytest.mark.parametrize("damage, said", [
    ({"one.yaml": "arms: [1, 2"}, "one.yaml"), ({"profile.yaml": "cluster: slurmm\n"}, "profile.yaml: cluster"),
    ({}, "the scratch disk is not mounted")])
def test_driver_that_ends_before_it_has_begun_is_seen_with_its_last_word(slurm, store, files, checkout, damage, said):
    commit(checkout)
    setup = [] if damage else ["echo the scratch disk is not mounted >&2", "exit 3"]
    (files / "profile.yaml").write_text(PROFILE + yaml.safe_dump({"driver": {"setup": setup}}))
    blocker = slurm.dev("preempt", "600")
    slurm.until(lambda: slurm.jobs("RUNNING"), "the cluster is full")
    detach(checkout, store, files)
    driver = driver_of(slurm)
    for name, text in damage.items():
        (store.root / "sweeps/one" / name).write_text(text)
    slurm.command("scancel", blocker)
    slurm.until(lambda: not driver_of(slurm), "the driver has ended")
    [log] = store.root.glob("jobs/driver-one-*/*.err")
    told = status(checkout, store)
    assert f"its driver, job {driver.id}, has ended: " in told and said in told and f"; log {log}" in told
    logs = run(checkout, store, "logs", "one").stdout
    assert f"==== driver of one: job {driver.id}" in logs and said in logs
    ledger.path(store, "one").touch()  # as another driver does first of all
    assert "nobody drives this sweep" in status(checkout, store)


def test_server_side_wandb_sweep_has_its_agent_and_its_trials_in_jobs(slurm, store, files, checkout, tmp_path):
    commit(checkout)
    base = [str(checkout / "configs/toy.yaml"), "train=null", "benchmarks={in_domain: [toy_math], out_of_domain: []}"]
    declared = {"base": base, "backend": "wandb_server", "options": {"method": "grid"}, "trials": 2,
                "space": {"limits.questions": [2, 3]}}
    (files / "one.yaml").write_text(yaml.safe_dump(declared))
    with WandbDouble() as server:
        detach(checkout, store, files, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY, HOME=str(tmp_path))
        driver = driver_of(slurm)
        until_ended(slurm, driver.id)
    runs = [run for run in server.runs.values() if run.sweep in server.sweeps]
    assert [run.displayName for run in runs] == ["limits.questions=2", "limits.questions=3"] and server.unknown == []
    summaries = [json.loads(run.summaryMetrics) for run in runs]
    assert [summary["outcome"] for summary in summaries] == ["done", "done"] and all("avg" in summary for summary in summaries)
    jobs = {store.record(f)["environment"]["slurm_job"] for f in store.fingerprints()}
    assert None not in jobs and driver.id not in jobs and len(jobs) > 2
    assert "complete" in status(checkout, store)


def test_detaching_without_slurm_is_refused(store):
    words = ("sweep", "sweeps/quickstart.yaml", "--detach", "--cluster", "slurm/local.yaml")
    assert "not a profile of one" in smartad(*words, store=store.root, status=2).stderr


def test_detached_driver_that_has_yet_to_begin_is_seen_and_cancelled(store, slurm):
    held = Resources(timeout_min=5, sbatch={"hold": True})
    submit_driver(Job(store, Runtime(), Tracking(store.root)), "mine", ["status"], held)
    said = smartad("status", "mine", store=store.root).stdout
    assert "its driver is job " in said and "(JobHeldUser)" in said
    assert "1 job(s) taken out of SLURM's queue" in smartad("cancel", "mine", store=store.root).stdout
    slurm.until(lambda: not queue(store), "nothing is left")
    assert "no sweep 'mine'" in smartad("status", "mine", store=store.root, status=2).stderr
