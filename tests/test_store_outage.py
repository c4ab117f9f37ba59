"""A store on a network file system that fails for a while: nothing is lost, done twice or given up, and it is said."""

import errno
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from command import ROOT, environment, kill
from made_up import declare, launch
from small_sweeps import declare as search
from small_sweeps import run as run_search
from smartad.stage import Stage, StageSpec
from smartad.sweep import ledger

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


def starts(beside):
    """Name -> how often it was started."""
    path = beside / "starts"
    return Counter(path.read_text().split()) if path.exists() else Counter()


def go_through(outage, process):
    """An outage of both kinds, each long enough for forty calls to fail."""
    for error in (errno.ESTALE, errno.EIO):
        outage.begin(error)
        before = outage.failed()
        wait(lambda before=before: outage.failed() >= before + 40, process)
    outage.end()


def test_outage_fails_every_kind_of_call_and_passes(outage, store):
    process = preloaded(outage, "-c", CALLS, store.root)
    said, complained = process.communicate(timeout=60)
    assert (said, process.returncode) == ("", 0), complained
    assert outage.failed() == 14


@dataclass(frozen=True)
class Config:
    name: str
    beside: str
    """A folder outside of the store."""
    do: str = ""


def run(config, inputs, out, runtime):
    """Notes each start in ``starts``, and ends when it is told to."""
    beside = Path(config.beside)
    with (beside / "starts").open("a") as file:
        file.write(f"{config.name}\n")
    if config.do == "begin an outage":
        (beside / "outage").write_text(str(errno.ESTALE))
    if config.do == "raise":
        (beside / "outage").write_text(str(errno.EIO))
        raise RuntimeError("header too small")  # as a library says of a file that it cannot read
    until = {"write": "go", "wait": "go", "end": "end"}.get(config.do)
    while until and not (beside / until).exists():
        if config.do == "write":
            (out / "data").write_text("some")
        time.sleep(0.02)
    if config.do != "end":
        (out / "said").write_text(config.name)
    return {}


def spec(name, beside, *parents, do=""):
    return StageSpec(Stage("x", 1, run), Config(name, str(beside), do), {f"in{i}": parent for i, parent in enumerate(parents)})


def goals(beside):
    """Three stages that are told when to end, and one that needs them."""
    return [spec("last", beside, *(spec(do, beside, do=do) for do in ("write", "wait", "end")))]


DRIVE = """
import sys; sys.path.insert(0, sys.argv[3])
from pathlib import Path
from small_stages import bring_to_end
from smartad.store import Store
from test_store_outage import goals
if __name__ == "__main__":
    dispatcher = bring_to_end(Store(Path(sys.argv[1])), goals(Path(sys.argv[2])), jobs=3)
    print(dispatcher.failures, set(dispatcher.states.values()))
"""


@pytest.mark.slow
def test_stages_at_work_over_an_outage_are_done_once_and_fail_in_nobodys_eyes(outage, store, tmp_path):
    """One writes all the time, one does not notice, one ends just then."""
    (tmp_path / "drive.py").write_text(DRIVE)
    driver = preloaded(outage, tmp_path / "drive.py", store.root, tmp_path, Path(__file__).parent)
    try:
        wait(lambda: sorted(starts(tmp_path)) == ["end", "wait", "write"], driver)
        wait(lambda: list(store.root.glob("*/data")), driver)
        outage.begin()
        (tmp_path / "end").touch()
        go_through(outage, driver)
        wait(lambda: starts(tmp_path)["write"] > 1, driver)
        (tmp_path / "go").touch()
        said, complained = driver.communicate(timeout=120)
    finally:
        kill(driver.pid)
    assert (said, driver.returncode) == ("{} {'done'}\n", 0), complained
    assert starts(tmp_path)["wait"] == starts(tmp_path)["last"] == 1, "what did not need the store was not begun again"
    assert not list(store.root.glob("*/.claim")) and not list(store.root.glob("*/.failure*"))


ONE = """
import sys; sys.path.insert(0, sys.argv[4])
from pathlib import Path
from small_stages import job
from smartad.store import Store
from test_store_outage import spec
failure = job(Store(Path(sys.argv[1]))).run(spec("one", sys.argv[2], do=sys.argv[3]))
print(failure.kind, failure.final, failure.message)
"""


@pytest.mark.slow
@pytest.mark.parametrize("do", ["begin an outage", "raise"])
def test_stage_without_a_store_fails_as_disk_whatever_it_says_itself(outage, store, tmp_path, do):
    process = preloaded(outage, "-c", ONE, store.root, tmp_path, do, Path(__file__).parent)
    said, complained = process.communicate(timeout=60)
    assert said.startswith(f"disk False the file system of the store {store.root} does not answer"), said + complained


@pytest.mark.slow
@pytest.mark.parametrize("words", [["status"], ["status", "declared"], ["table", "declared"], ["logs", "declared"],
                                   ["show", "train"], ["cancel", "declared"], ["retry", "declared"],
                                   ["pull", "best", "--to", "there"],
                                   ["sweep", "sweeps/quickstart.yaml"], ["plan", "configs/toy.yaml"]], ids=" ".join)
def test_command_without_a_store_says_so_in_one_line(outage, store, tmp_path, words):
    launch(store, declare(tmp_path))
    outage.begin()
    process = preloaded(outage, "-m", "smartad", *words)
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 2 and complained.count("\n") == 1, said + complained
    assert complained.startswith(f"smartad: the file system of the store {store.root} does not answer (Stale file handle: ")
    assert "run the same command again when it is back" in complained


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
    assert "failed" not in complained and not list(store.root.glob("*/.failure*"))


@pytest.mark.slow
def test_trial_that_is_proposed_when_the_store_goes_away_is_run_when_it_is_back(store, tmp_path):
    """The file system leaves between the proposal and the ledger, and is back a round later."""
    gone, asked = store.root.with_name("gone"), []

    def each_round(driver):
        if gone.exists():
            gone.rename(store.root)
        if not asked:
            asked.append(driver.proposer.ask)
            driver.proposer.ask = leave

    def leave():
        asked.append(asked[0]())
        if len(asked) == 2:
            store.root.rename(gone)
        return asked[-1]

    (store.root / "no_waiting").touch()
    sweep = search(tmp_path, backend="optuna", options={"sampler": "random"}, trials=3, parallel=1,
                   space={"train.weights.final": {"low": 1, "high": 40}})
    _, dispatcher = run_search(sweep, store, each_round)
    book = ledger.load(store, "declared")
    assert len(book.trials) == 3 and all(store.has(run.goal) for trial in book.trials for run in trial.runs)
    assert dispatcher.failures == {} and len(asked) >= 3, "the store has been away"
