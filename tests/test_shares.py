"""Work split over real processes."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command import alive, environment
from conftest import ROOT
from smartad.processes import ProcessDied
from smartad.stages.shares import each
from smartad.types import UserError

pytestmark = pytest.mark.slow


def squares(numbers):
    for number in numbers:
        yield os.getpid(), number * number


def devices(numbers):
    yield os.environ["CUDA_VISIBLE_DEVICES"]


def fails(number):
    yield number
    if number == 2:
        raise UserError("no such thing as 2")
    yield from forever(number)


def slips(number):
    yield {}[number]


class Picky(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def raises_what_cannot_be_sent(number):
    yield number
    raise Picky("one", "two")


def dies(number):
    yield number
    os.kill(os.getpid(), signal.SIGKILL)


def forever(_):
    """Says which process it is, and stays."""
    yield os.getpid()
    while True:
        time.sleep(60)


def test_each_of_one_share_works_in_this_process():
    assert list(each(squares, [[1, 2]])) == [(os.getpid(), 1), (os.getpid(), 4)]
    assert list(each(squares, [])) == []


def test_each_of_several_shares_gives_each_a_process_and_all_they_yield():
    found = list(each(squares, [[1, 2], [3], [4, 5]]))
    assert sorted(square for _, square in found) == [1, 4, 9, 16, 25]
    assert len({pid for pid, _ in found} - {os.getpid()}) == 3
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("visible", "expected"), [("4,7", ["4", "7"]), (None, ["0", "1"])])
def test_each_with_gpus_shows_every_process_one_of_them(monkeypatch, visible, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert sorted(each(devices, [[], []], gpus=2)) == expected


def test_each_raises_what_a_process_raised_and_ends_the_others():
    with pytest.raises(UserError, match="no such thing as 2"):
        list(each(fails, [1, 2]))
    assert not multiprocessing.active_children()


def test_each_tells_where_in_its_process_something_was_raised_even_if_it_cannot_be_sent():
    with pytest.raises(LookupError) as plain:
        list(each(slips, [1, 2]))
    assert "in slips" in plain.value.__notes__[0]
    with pytest.raises(RuntimeError, match="Picky: one and two"):
        list(each(raises_what_cannot_be_sent, [1, 2]))


def test_each_of_a_process_that_is_killed_says_by_what():
    with pytest.raises(ProcessDied, match=r"one of 2 processes of this stage died \(SIGKILL, perhaps out of memory\)"):
        list(each(dies, [1, 2]))


def test_each_that_is_closed_ends_its_processes():
    with contextlib.closing(each(forever, [1, 2])) as pids:
        first = next(pids)
    assert not alive(first)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_each_whose_process_is_told_to_end_or_killed_leaves_none_behind(number):
    """As in a worker, where SIGTERM is SystemExit."""
    code = ("import contextlib, signal, sys; from smartad.stages.shares import each; from test_shares import forever\n"
            "if __name__ == '__main__':\n"
            "    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
            "    with contextlib.closing(each(forever, [1, 2])) as pids:\n"
            "        for pid in pids: print(pid, flush=True)\n")
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent,
                              stderr=subprocess.DEVNULL, env={**environment(None), "PYTHONPATH": str(ROOT)})
    children = [int(parent.stdout.readline()) for _ in range(2)]
    os.kill(parent.pid, number)
    parent.wait(timeout=60)
    deadline = time.monotonic() + 60
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, children))
    assert parent.returncode != 0
