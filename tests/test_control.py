"""logs, cancel, retry: real notes, real jobs, real drivers."""

import argparse
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from command import alive, smartad, start
from conftest import ROOT
from made_up import declare, fail, finish, launch, of
from smartad.cli import control
from smartad.cluster import ClusterConfig, Dispatcher, Job, Resources, connect
from smartad.cluster.queue import queue
from smartad.cluster.submission import submit, submit_driver
from smartad.stage import Runtime, Stage, StageSpec
from smartad.store import Store
from smartad.sweep import ledger
from smartad.sweep.ledger import Ledger, LedgerTrial, Run
from smartad.tracking import Tracking
from smartad.types import UserError

# A submitit job unpickles the stages of this file by name.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])


@dataclass(frozen=True)
class Config:
    name: str
    lines: int = 3
    do: str = ""


def run(config, inputs, out, runtime):
    for number in range(config.lines):
        print(f"{config.name} says {number}", flush=True)
        time.sleep(0.2)
    print(f"{config.name} complains", file=sys.stderr, flush=True)
    if config.do == "raise":
        raise ValueError("as asked")
    return {}


def spec(name, **config):
    return StageSpec(Stage("x", 1, run), Config(name, **config))


def job(store):
    return Job(store, Runtime(), Tracking(store.root))


def sweep_of(store, name, *specs):
    """The ledger of a sweep with one trial of some stages."""
    stages = tuple(s.fingerprint for s in specs)
    run = Run(0, stages[-1], None, stages, tuple(() for _ in stages))
    book = Ledger(name, {"metric": "avg"}, {}, (LedgerTrial("only", {}, (run,)),))
    ledger.save(store, book)
    return book


def bring_to_end(store, specs):
    executor = connect(ClusterConfig(cluster="local", slots=2), job(store), None)
    dispatcher = Dispatcher(store, executor)
    dispatcher.add(specs)
    try:
        while dispatcher.open():
            dispatcher.step()
    finally:
        executor.close()


@pytest.mark.slow
def test_logs_of_a_failure_are_its_message_and_traceback(store, tmp_path):
    _, specs = launch(store, declare(tmp_path))
    failed = fail(store, of(specs, "train")[0])
    for name in (failed, failed[:9], failed.split("-")[1][:6]):
        said = smartad("logs", name, store=store.root).stdout
        assert f"==== {failed}: failed, oom" in said and "out of memory" in said and f"Traceback\nof {failed}\n" in said


def test_logs_of_a_sweep_are_those_of_what_failed_or_runs(store, tmp_path):
    _, specs = launch(store, declare(tmp_path))
    failed, running = fail(store, of(specs, "train")[0]), of(specs, "collect")[0].fingerprint
    finish(store, of(specs, "prepare"))
    with store.claim(running):
        said = smartad("logs", "declared", store=store.root).stdout
    headings = [line.split()[1].rstrip(":") for line in said.splitlines() if line.startswith("====")]
    assert sorted(headings) == sorted([failed, running])


@pytest.mark.slow
@pytest.mark.parametrize("name, message", [("quickstart", "no sweep and no stage 'quickstart'"),
                                           ("train-", "'train-' is ambiguous in ")])
def test_logs_of_something_unknown_or_ambiguous_say_what_there_is(store, tmp_path, name, message):
    launch(store, declare(tmp_path))
    said = smartad("logs", name, store=store.root, status=2).stderr
    assert message in said and ("declared" in said or "train-" in said)


@pytest.mark.slow
def test_logs_of_a_job_are_what_it_wrote(store):
    bad, fine = spec("bad", do="raise"), spec("fine")
    sweep_of(store, "jobs", bad, fine)
    bring_to_end(store, [bad, fine])
    both = smartad("logs", "jobs", store=store.root).stdout
    assert "ValueError: as asked" in both and "bad says 2" in both and "bad complains" in both and "fine says" not in both
    assert ", job " in both
    out = smartad("logs", fine.fingerprint, "--out", store=store.root).stdout
    err = smartad("logs", fine.fingerprint, "--err", store=store.root).stdout
    assert "fine says 0" in out and "complains" not in out and "fine complains" in err and "says" not in err


@pytest.mark.slow
def test_followed_log_goes_on_until_the_stage_has_ended(store):
    long = spec("long", lines=40)
    sweep_of(store, "jobs", long)
    worker = threading.Thread(target=bring_to_end, args=(store, [long]))
    worker.start()
    try:
        while not list((store.root / "jobs").glob("*/*_log.out")):
            assert worker.is_alive()
            time.sleep(0.1)
        said = smartad("logs", long.fingerprint, "--follow", store=store.root).stdout
        assert said.count("long says") == 40
        assert store.has(long.fingerprint)
    finally:
        worker.join()


def test_long_log_of_one_among_several_is_shown_from_its_end(tmp_path):
    path = tmp_path / "log"
    path.write_text("".join(f"line {i}\n" for i in range(100)))
    assert list(control._lines(path, 2)) == ["... 98 lines before", "line 98", "line 99"]
    assert len(list(control._lines(path, None))) == 100


@pytest.fixture
def failures(store, tmp_path):
    """Three failed stages: of class node, oom and node."""
    _, specs = launch(store, declare(tmp_path))
    finish(store, of(specs, "prepare"))
    some = [*of(specs, "train"), of(specs, "collect")[0]]
    return [fail(store, s, kind) for s, kind in zip(some, ("node", "oom", "node"), strict=True)]


def test_retry_takes_away_the_failures_of_a_class_and_leaves_the_others(store, failures):
    said = smartad("retry", "declared", "--class", "node,timeout", store=store.root).stdout
    assert [store.failure(f) is None for f in failures] == [True, False, True]
    assert not (store.folder(failures[0]) / ".failure.log").exists()
    assert failures[0] in said and "2 stage(s) to try again (1 of class oom left as they are), and nobody" in said
    assert "Run:\n  start the same" in said


@pytest.mark.slow
def test_retry_takes_only_the_stages_that_are_named(store, failures):
    smartad("retry", "declared", failures[1][:10], store=store.root)
    assert [store.failure(f) is None for f in failures] == [False, True, False]


@pytest.mark.slow
def test_retry_says_when_a_driver_takes_them_up_by_itself(store, failures):
    with store.lock("sweeps/declared"):
        assert "the driver takes them up by itself" in smartad("retry", "declared", store=store.root).stdout
    assert "nothing to retry" in smartad("retry", "declared", store=store.root).stdout


@pytest.mark.slow
def test_retry_of_what_was_taken_away_before_or_is_finished_says_so(store, failures):
    done = of_kind(store, "prepare")
    smartad("retry", "declared", failures[1], store=store.root)
    said = smartad("retry", "declared", failures[1], done, store=store.root).stdout
    assert f"{failures[1]} has no failure: it was taken away before, or has not run yet" in said
    assert f"{done} is finished" in said and "nothing to retry: nothing of those has failed" in said
    with store.claim(failures[1]):
        assert f"{failures[1]} is running" in smartad("retry", "declared", failures[1], store=store.root).stdout
    smartad("retry", "declared", store=store.root)
    assert "nothing to retry: nothing of declared has failed" in smartad("retry", "declared", store=store.root).stdout


def of_kind(store, kind):
    """A finished stage."""
    return next(f for f in store.fingerprints() if f.startswith(f"{kind}-"))


@pytest.mark.slow
def test_retry_of_an_unknown_class_names_those_there_are(store, failures):
    said = smartad("retry", "declared", "--class", "nodes", store=store.root, status=2).stderr
    assert "no class of failure 'nodes'; there are node, timeout, cancelled, disk, engine, oom, nan, user error, error" in said


@pytest.mark.slow
def test_cancel_of_a_sweep_that_nobody_drives_says_so(store, tmp_path):
    launch(store, declare(tmp_path))
    said = smartad("cancel", "declared", store=store.root).stdout
    assert "nobody drives declared, and none of its jobs is queued" in said and "0 of " in said


def test_cancel_of_a_driver_that_does_not_end_says_how_to_end_it(store, tmp_path, monkeypatch):
    launch(store, declare(tmp_path))
    monkeypatch.setattr(control, "GONE_S", 0.5)
    with store.lock("sweeps/declared"), pytest.raises(UserError, match=f"driver is still there; kill {os.getpid()}, on "):
        control.cancel_command(argparse.Namespace(store=store.root, sweep="declared"))
    assert (store.root / "sweeps/declared.cancel").exists()


@pytest.mark.slow
def test_cancelled_sweep_ends_with_its_workers_and_goes_on_when_it_is_started_again(tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text(yaml.safe_dump({"base": [str(ROOT / "configs/toy.yaml"), "limits.questions=2", "limits.train_questions=4",
                                             "collect.samples=2", "select.first=2", "train.epochs=1"],
                                    "arms": {"min": {}, "uniform": {"train.weights": {"reason": 1, "action": 1, "final": 1}}}}))
    store = Store(tmp_path / "store").open()
    driver = start("sweep", file, "--jobs", "1", "--track", "none", store=store.root)
    try:
        while not list(store.root.glob("collect-*/record.json")):
            assert driver.poll() is None, driver.stderr.read()
            time.sleep(0.1)
        said = smartad("cancel", "two", store=store.root).stdout
        assert f"its driver, process {driver.pid} on " in said and "has stopped what it ran, and ended" in said
        assert driver.wait(timeout=60) == 130 and not alive(driver.pid)
        assert "cancelled" in driver.stderr.read()
    finally:
        driver.kill()
    book = ledger.load(store, "two")
    finished = {f for f in book.stages() if store.has(f)}
    assert finished and len(finished) < len(book.stages()) and not any(store.claimed(f) for f in book.stages())
    said = smartad("sweep", file, "--jobs", "1", "--track", "none", store=store.root).stdout
    assert all(store.has(f) for f in book.stages())
    assert "expected / real" in said and "expected / real" in smartad("status", "two", store=store.root).stdout


HELD = Resources(timeout_min=5, sbatch={"hold": True})


@pytest.mark.slow
def test_queued_jobs_say_that_they_are_held_and_cancel_takes_those_that_nobody_else_needs(store, slurm):
    mine, shared = [spec("a"), spec("b")], spec("shared")
    sweep_of(store, "mine", *mine, shared)
    sweep_of(store, "other", shared)
    submit(job(store), "slurm", [[mine[0]], [mine[1]]], HELD)
    submit(job(store), "slurm", [[shared]], HELD)
    submit_driver(job(store), "mine", ["status"], HELD)
    assert len(queue(store)) == 4
    said = smartad("status", "mine", store=store.root).stdout
    assert "its driver is job " in said and "0 of 3 stages finished, 3 queued" in said
    assert "held; release it with scontrol release " in said and "(JobHeldUser)" in said
    with store.lock("sweeps/other"):
        said = smartad("cancel", "mine", store=store.root).stdout
        assert "3 job(s) taken out of SLURM's queue" in said and "1 job(s) stay in it: other needs what they run" in said
        slurm.until(lambda: len(queue(store)) == 1, "only the shared job is left")
    assert "1 job(s) taken out" in smartad("cancel", "mine", store=store.root).stdout
    slurm.until(lambda: not queue(store), "nothing is left")


@pytest.mark.slow
def test_slurm_that_is_down_is_one_line_of_status_and_a_clear_end_of_cancel(store, slurm):
    sweep_of(store, "mine", spec("a"))
    submit(job(store), "slurm", [[spec("a")]], HELD)
    slurm.dev("controller", "kill")
    said = smartad("status", "mine", store=store.root).stdout
    assert said.count("SLURM does not answer") == 1 and "0 of 1 stages finished" in said
    assert "SLURM does not answer" in smartad("cancel", "mine", store=store.root, status=2).stderr
    slurm.dev("controller", "start")
