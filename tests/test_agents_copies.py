"""Copies of an interpreter's state: what votes on candidates run on.  Code that would abuse them gets nothing."""

import os
import time
from pathlib import Path

import psutil
import pytest

from small_interpreters import SHORT, gone, outcome, seen_from_here
from smartad.agents.executor import ChildExecutor, CodeError, Interpreters

pytestmark = pytest.mark.slow


def test_copy_has_the_state_and_goes_its_own_way(executor, interpreters):
    outcome(executor, "x = [1]\ndef more():\n    x.append(web_search('y'))\n    return x")
    copy = executor.branch()
    assert outcome(copy, "more()").output == "[1, 'found y']" and outcome(copy, "len(x)").output == "2"
    assert outcome(executor, "x").output == "[1]"
    pid = seen_from_here(interpreters, copy.pid)
    assert outcome(copy, "raise SystemExit").status == "exec_error" and outcome(copy, "x.clear()\nx").output == "[]"
    copy.cleanup()
    assert gone(pid) and outcome(executor, "more()").output == "[1, 'found y']"


def test_copy_outlives_its_original_and_can_be_copied(executor):
    outcome(executor, "x = 1")
    copy = executor.branch()
    executor.cleanup()
    again = copy.branch()
    outcome(copy, "x = 2")
    assert (outcome(copy, "x").output, outcome(again, "x").output) == ("2", "1")
    copy.cleanup()
    assert outcome(again, "x").output == "1"
    again.cleanup()


def test_copies_draw_the_same_chance(executor):
    outcome(executor, "import random\nrandom.random()")
    copies = [executor.branch() for _ in range(3)]
    assert len({outcome(copy, "random.random()").output for copy in copies}) == 1
    for copy in copies:
        copy.cleanup()


def test_copy_of_what_never_ran_is_a_fresh_interpreter(interpreters):
    copy = ChildExecutor(interpreters, seed=7).branch()
    assert copy.pid is None and outcome(copy, "1").status == "ok"
    copy.cleanup()


def test_copy_keeps_the_limits_and_has_no_processes_of_its_own(executor, interpreters):
    outcome(executor, "x = 1")
    copy = executor.branch()
    outcome(copy, "x")
    process = Path(f"/proc/{seen_from_here(interpreters, copy.pid)}")
    assert "Max processes             0" in (process / "limits").read_text() and len(os.listdir(process / "fd")) == 4
    assert outcome(copy, "b'x' * 10**12").status == "oom" and outcome(executor, "x").output == "1"
    copy.cleanup()


def test_copy_that_is_stuck_is_stopped_and_its_original_is_not():
    with Interpreters(SHORT) as running:
        child = ChildExecutor(running, seed=0)
        outcome(child, "x = 1")
        copy = child.branch()
        pid = seen_from_here(running, copy.pid)
        assert outcome(copy, "while True: pass").status == "timeout" and gone(pid)
        assert outcome(child, "x").output == "1"


SEIZE = "import os, sys\nseccomp = sys.modules['smartad.agents.running'].seccomp\nhonest = seccomp.copy_process\n"


@pytest.mark.parametrize("lie", ["lambda: 1", "os.getppid", "os.getpid", "lambda: -1", "lambda: 'x'", "lambda: 1 / 0"])
def test_code_that_lies_about_its_copy_is_broken_and_leaves_no_process(interpreters, executor, lie):
    outcome(executor, "kept = 1")
    child = ChildExecutor(interpreters, seed=0, plain=True)
    assert outcome(child, f"{SEIZE}seccomp.copy_process = {lie}").status == "ok"
    with pytest.raises(CodeError, match="broke its interpreter"):
        child.branch()
    assert outcome(executor, "kept").output == "1"
    assert len(psutil.Process(interpreters.host_pid).children()) == 1


def test_code_gets_one_copy_when_one_is_made_and_none_otherwise(interpreters):
    greedy = "made = []\ndef two():\n    made.append(honest())\n    made.append(honest())\n    return made[0]\n"
    child = ChildExecutor(interpreters, seed=0, plain=True)
    outcome(child, f"{SEIZE}{greedy}seccomp.copy_process = two")
    with pytest.raises((CodeError, RuntimeError)):
        child.branch()
    child.cleanup()
    until = time.monotonic() + 30
    while psutil.Process(interpreters.host_pid).children() and time.monotonic() < until:
        time.sleep(0.01)
    assert psutil.Process(interpreters.host_pid).children() == []
