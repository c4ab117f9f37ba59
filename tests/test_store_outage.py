"""A store on a network file system that fails for a while: nothing is lost, done twice or given up, and it is said."""

import errno
import subprocess
import sys
import time

import pytest
import yaml

from command import ROOT, environment, kill
from smartad.sweep import ledger

BOTH = (errno.ESTALE, errno.EIO)
CALLS = """
import os, shutil, sys
from pathlib import Path
root, flag = Path(sys.argv[1]), Path(os.environ["FAIL_FLAG"])
file, there = (root / "file").open("w", buffering=1), root / "there"
there.touch()
calls = [lambda: open(there), lambda: os.stat(there), lambda: os.lstat(there), lambda: os.mkdir(root / "new"),
         lambda: os.replace(there, root / "new"), lambda: os.unlink(there), lambda: os.listdir(root), lambda: os.scandir(root),
         lambda: os.utime(there), lambda: file.write("x" + chr(10)), lambda: os.fsync(file.fileno()), lambda: shutil.rmtree(root),
         lambda: os.open(root / "new", os.O_CREAT | os.O_EXCL | os.O_WRONLY), lambda: os.stat(root)]
flag.write_text("116")
for number, call in enumerate(calls):
    try:
        call()
        print(number, "did not fail")
    except OSError as error:
        assert error.errno == 116, error
flag.unlink()
for call in calls[:3]:
    call()
"""


def preloaded(outage, *words, **options):
    """A process that feels the outage."""
    return subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env={**environment(outage.under), **outage.environment}, **options)


def wait(condition, process, within_s=120.0):
    """Wait for ``condition`` while ``process`` lives."""
    until = time.monotonic() + within_s
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.05)


def go_through(outage, process):
    """An outage of both kinds, each long enough for forty calls to fail."""
    for error in BOTH:
        outage.begin(error)
        before = outage.failed()
        wait(lambda before=before: outage.failed() >= before + 40, process)
    outage.end()


def test_outage_fails_every_kind_of_call_and_passes(outage, store):
    process = preloaded(outage, "-c", CALLS, store.root)
    said, complained = process.communicate(timeout=60)
    assert (said, process.returncode) == ("", 0), complained
    assert outage.failed() == 14


@pytest.mark.slow
def test_sweep_over_an_outage_ends_as_if_there_had_been_none(outage, store, tmp_path):
    small = ["limits.questions=2", "limits.train_questions=4", "collect.samples=2", "select.first=2", "train.epochs=1"]
    file = tmp_path / "two.yaml"
    file.write_text(yaml.safe_dump({"base": [str(ROOT / "configs/toy.yaml"), *small],
                                    "arms": {"min": {}, "uniform": {"train.weights": {"reason": 1, "action": 1, "final": 1}}}}))
    driver = preloaded(outage, "-m", "smartad", "sweep", file, "--jobs", "2", "--track", "none")
    try:
        wait(lambda: list(store.root.glob("collect-*/record.json")), driver)
        go_through(outage, driver)
        _, complained = driver.communicate(timeout=300)
    finally:
        kill(driver.pid)
    assert driver.returncode == 0 and "Traceback" not in complained, complained
    stages = ledger.load(store, "two").stages()
    assert all(store.has(f) for f in stages) and not any(store.verify(f) for f in stages)
    print(complained)
