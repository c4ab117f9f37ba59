"""Interpreters for tests: real processes behind this machine's wall, with short limits, and how they look from here."""

import time
from pathlib import Path

import psutil
import pytest

from smartad.agents.executor import ChildExecutor, CodeError, Interpreters
from smartad.agents.limits import CodeLimits

LIMITS = CodeLimits(step_timeout_s=60, cpu_s=30, memory_gb=0.25, output_chars=1000)
SHORT = CodeLimits(step_timeout_s=0.8)
"""For code that would never end; everything else has time, however busy the machine is."""


@pytest.fixture(scope="module")
def interpreters():
    with Interpreters(LIMITS) as running:
        yield running


@pytest.fixture
def executor(interpreters):
    child = ChildExecutor(interpreters, seed=7)
    child.send_tools({"web_search": lambda query: f"found {query}", "final_answer": None})
    yield child
    child.cleanup()


@pytest.fixture(scope="module")
def hasty():
    with Interpreters(SHORT) as running:
        child = ChildExecutor(running, seed=7)
        yield child
        child.cleanup()


def outcome(executor, code):
    try:
        executor(code)
    except CodeError as error:
        assert str(error) == executor.last.error
    return executor.last


def seen_from_here(interpreters, pid):
    """The pid outside of the wall's namespace of the interpreter that the server calls ``pid``."""
    for child in psutil.Process(interpreters.host_pid).children():
        inside = Path(f"/proc/{child.pid}/status").read_text().partition("NSpid:")[2].splitlines()[0].split()[-1]
        if int(inside) == pid:
            return child.pid
    raise AssertionError(f"the server has no child {pid}")


def gone(pid):
    """Whether process ``pid`` ends and is reaped (not a zombie) before long."""
    for _ in range(500):
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.01)
    return False
