"""The command line on a real SLURM: which code jobs run, one driver a sweep, a driver that is a job itself."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from code_checkout import SWEEP, begin, commit, run
from command import environment, kill, smartad, start
from conftest import ROOT
from smartad.store import Store

pytestmark = pytest.mark.slow

def records(store):
    return [store.record(f) for f in store.fingerprints()]


def test_queued_jobs_run_the_code_they_were_submitted_with(slurm, store, files, checkout):
    at = commit(checkout)
    blocker = slurm.dev("preempt", "600")
    slurm.until(lambda: slurm.jobs("RUNNING"), "the cluster is full")
    driver = begin(checkout, store, "run", "configs/toy.yaml", "limits.train_questions=2", "--until", "collect",
                   "--cluster", files / "profile.yaml", "--track", "none")
    slurm.until(lambda: [j for j in slurm.jobs("PENDING") if j.name.startswith("prepare.")], "the first jobs wait")
    edited = checkout / "smartad/stages/prepare.py"
    edited.write_text("raise RuntimeError('this was edited while the job was queued')\n")
    try:
        slurm.command("scancel", blocker)
        said, _ = driver.communicate(timeout=300)
        assert driver.returncode == 0, said
        assert {r["environment"]["git"]["commit"] for r in records(store)} == {at}
    finally:
        driver.kill()
        subprocess.run(["git", "-C", str(checkout), "checkout", "-q", "--", "."], check=True)


def test_uncommitted_code_is_refused_or_run_under_a_name(slurm, store, files, checkout):
    at = commit(checkout)
    edited = checkout / "smartad/stages/prepare.py"
    edited.write_text(edited.read_text() + "\n# not committed\n")
    words = ("run", "configs/toy.yaml", "limits.train_questions=2", "--until", "prepare", "--cluster", files / "profile.yaml",
             "--track", "none")
    try:
        refused = run(checkout, store, *words, status=2)
        assert "uncommitted" in refused.stderr and "prepare.py" in refused.stderr and "--snapshot" in refused.stderr
        run(checkout, store, *words, "--snapshot", "my-try")
        ref = subprocess.run(["git", "-C", str(checkout), "rev-parse", "refs/smartad/my-try"], capture_output=True, text=True)
        assert {r["environment"]["git"]["commit"] for r in records(store)} == {ref.stdout.strip()} != {at}
        assert "# not committed" in (store.root / "code" / ref.stdout[:12] / "smartad/stages/prepare.py").read_text()
        status = subprocess.run(["git", "-C", str(checkout), "status", "--porcelain"], capture_output=True, text=True)
        assert status.stdout.strip() == "M smartad/stages/prepare.py", "the checkout is as it was"
    finally:
        subprocess.run(["git", "-C", str(checkout), "checkout", "-q", "--", "."], check=True)


def test_sweep_without_its_driver_is_driven_on_and_ctrl_c_leaves_the_queue_alone(slurm, store, files, checkout):
    commit(checkout)
    words = ("sweep", files / "one.yaml", "--cluster", files / "profile.yaml", "--track", "none")
    driver = begin(checkout, store, *words)
    slurm.until(lambda: [j for j in slurm.jobs("RUNNING") if j.name.startswith("evaluate.")], "evaluation runs")
    driver.send_signal(2)
    said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130 and "are in SLURM's queue and go on" in said and "smartad cancel one" in said
    assert [j for j in slurm.jobs() if j.name.startswith("evaluate.")], "its jobs are still there"
    run(checkout, store, *words)
    submitted = [json.loads(p.read_text()) for p in store.root.glob("jobs/*/submission.json")]
    stages = [f for s in submitted for pack in s["packs"] for f in pack]
    assert len(stages) == len(set(stages)), "no job twice"


def test_failing_arm_stops_the_sweep_only_when_asked(store, tmp_path):
    declared = tmp_path / "two.yaml"
    declared.write_text(f"base: [{ROOT / 'configs/toy.yaml'}, limits.questions=2, limits.train_questions=2]\n"
                        "arms: {hopeless: {train.max_length: 8}, fine: {train: null}}\n")
    words = ("sweep", declared, "--jobs", "1", "--track", "none")
    stopped = smartad(*words, "--fail-fast", store=store.root, status=1)
    assert "stopped because train-" in stopped.stderr
    went_on = smartad(*words, store=store.root, status=1)
    assert "1 stage(s) failed" in went_on.stderr and "fine" in went_on.stdout
    assert [f for f in store.fingerprints() if f.startswith("aggregate-")]


def test_ctrl_c_ends_the_jobs_on_this_machine_without_a_traceback(store):
    words = ("run", "configs/toy.yaml", "limits.train_questions=8", "--cluster", "slurm/local.yaml", "--snapshot", "testing",
             "--track", "none")
    driver = subprocess.Popen([sys.executable, "-m", "smartad", *words], cwd=ROOT, env=environment(store.root), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    until = time.monotonic() + 120
    while not any(store.claimed(path.name) for path in store.root.glob("score-*")):
        assert driver.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
    said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130 and "Traceback" not in said and "is carried on by" in said, said
    assert not any(store.claimed(path.name) for path in store.root.glob("*-*"))
    logs = [path.read_text() for path in store.root.glob("jobs/*/*.err")]
    assert not [text for text in logs if "KeyboardInterrupt" in text]


def test_driver_that_is_killed_gives_up_its_sweep(store, tmp_path):
    declared = tmp_path / "one.yaml"
    declared.write_text(SWEEP.replace("CONFIG", str(ROOT / "configs/toy.yaml")))
    driver = start("sweep", str(declared), "--track", "none", store=store.root)
    until = time.monotonic() + 60
    while not store.locked("sweeps/one"):
        assert time.monotonic() < until
        time.sleep(0.1)
    refused = smartad("sweep", declared, "--track", "none", store=store.root, status=2)
    assert f"process {driver.pid}" in refused.stderr
    kill(driver.pid)
    driver.wait()
    assert Store(Path(store.root)).locked("sweeps/one") is None
    smartad("sweep", declared, "--track", "none", store=store.root)
