"""What a person sees while a sweep runs: the same rounds a driver makes, read off a console, and off a real terminal."""

import io
import os
import pty
import shutil
import subprocess
import sys

import pytest
from rich.console import Console

from command import environment
from conftest import ROOT
from made_up import declare, finish, of
from smartad.cli import console
from smartad.cli.console import Watch
from smartad.cluster import Dispatcher
from smartad.cluster.base import RETRIES
from smartad.stage import upstream_first
from smartad.sweep.driver import Driver
from smartad.sweep.stopping import Stop

STOP = Stop("wilcoxon", ("toy_math, seed 0",), "min", 12.5, 80.0, 0.001)


class Queue:
    """A place that takes everything and runs nothing, as a full cluster does."""

    retries = RETRIES

    def __init__(self):
        self.taken, self.answers = set(), True

    def take(self, ready):
        taken = list(ready)
        self.taken |= {spec.fingerprint for spec in taken}
        return taken

    def in_flight(self):
        return self.taken if self.answers else None

    def collect(self):
        return {}

    def cancel(self, fingerprints):
        self.taken -= fingerprints

    def close(self):
        pass


@pytest.fixture
def rounds(store, tmp_path, monkeypatch):
    """A dispatcher before a full cluster, its stages, and what is printed."""
    out = io.StringIO()
    monkeypatch.setattr(console, "console", lambda stderr=False: Console(file=out, width=200))
    monkeypatch.setattr(console, "PLAIN_EVERY_S", -1.0)
    monkeypatch.setattr(console, "LOOK_S", 0.0)
    driver = Driver(declare(tmp_path), store)
    goals = driver.ask()
    dispatcher = Dispatcher(store, Queue())
    dispatcher.add(goals)
    return dispatcher, upstream_first(goals), out


def test_queued_stage_is_not_said_to_run_before_somebody_works_on_it(store, rounds):
    dispatcher, specs, out = rounds
    first = of(specs, "prepare", "index")
    with Watch(dispatcher, queue=True) as watch:
        dispatcher.step()
        watch()
        assert out.getvalue().endswith(f"0 running, {len(first)} queued\n")
        with store.claim(first[0].fingerprint):
            watch()
        assert f"1 running, {len(first) - 1} queued; running: {first[0].fingerprint}" in out.getvalue().splitlines()[-1]


def test_queue_that_does_not_answer_is_not_said_to_be_empty(store, rounds):
    dispatcher, specs, out = rounds
    (index,) = of(specs, "index")
    with Watch(dispatcher, queue=True) as watch, store.claim(index.fingerprint):
        dispatcher.step()
        watch()
        dispatcher.executor.answers = False
        dispatcher.step()
        watch()
    assert out.getvalue().splitlines()[-1].endswith(f"1 running, SLURM does not answer; running: {index.fingerprint}")


def test_stage_of_worker_processes_is_said_to_run_and_nothing_to_be_queued(rounds):
    dispatcher, _, out = rounds
    with Watch(dispatcher) as watch:
        dispatcher.step()
        watch()
    assert "running: " in out.getvalue() and "queued" not in out.getvalue()


def test_stopped_trial_is_said_once_and_one_of_an_earlier_start_not_at_all(rounds):
    dispatcher, _, out = rounds
    stopped = {"min": STOP}
    with Watch(dispatcher, dict, lambda: stopped) as watch:
        stopped["max [a]"] = STOP
        watch()
        watch()
    assert out.getvalue().count("stopped  max [a]: 12.5 at toy_math, seed 0, where min has 80.0 (wilcoxon)") == 1
    assert out.getvalue().count("stopped") == 1


def test_store_that_goes_is_said_once_and_once_when_it_is_back(store, rounds):
    dispatcher, _, out = rounds
    with Watch(dispatcher) as watch:
        watch()
        away = store.root.with_name("elsewhere")
        shutil.move(store.root, away)
        for _ in range(3):
            dispatcher.step()
            watch()
        assert out.getvalue().count(f"the store {store.root} does not answer") == 1
        assert f"the store {store.root} is back" not in out.getvalue()
        shutil.move(away, store.root)
        for _ in range(3):
            dispatcher.step()
            watch()
    assert out.getvalue().count(f"the store {store.root} is back") == 1


def test_stage_that_ends_as_the_store_goes_is_told_when_it_is_back(store, rounds):
    dispatcher, specs, out = rounds
    (index,) = of(specs, "index")
    said = f"{index.fingerprint}  2.0 s"
    with Watch(dispatcher) as watch:
        dispatcher.step()
        finish(store, [index])
        dispatcher.step()
        away = store.root.with_name("elsewhere")
        shutil.move(store.root, away)
        watch()
        assert said not in out.getvalue()
        shutil.move(away, store.root)
        watch()
    assert out.getvalue().count(said) == 1


BARS = """
import logging, sys, time
from pathlib import Path
from smartad.cli import log_to_stderr
from smartad.cli.console import Watch
from smartad.cluster import Dispatcher
from smartad.store import Store

log_to_stderr(False)
with Watch(Dispatcher(Store(Path(sys.argv[1])), None)) as watch:
    for _ in range(3):
        watch()
        logging.getLogger("smartad.cluster.slurm").warning("squeue does not answer")
"""


@pytest.mark.slow
def test_warning_that_comes_while_bars_are_drawn_has_a_line_of_its_own(store):
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", BARS, str(store.root)], cwd=ROOT, stdin=theirs, stdout=theirs,
                               stderr=theirs, env={**environment(None), "TERM": "xterm"})
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 4096):
            seen += part
    except OSError:  # how Linux says that the other end is closed
        pass
    assert process.wait() == 0, seen
    text = seen.decode()
    assert "all stages" in text and text.count("squeue does not answer\r\n") == 3
    assert all(line.rpartition("\x1b[2K")[2] == "squeue does not answer" for line in text.split("\r\n") if "squeue" in line), text
