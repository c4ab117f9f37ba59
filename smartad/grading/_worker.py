"""The processes that a bounded grader runs in: ``python -m smartad.grading._worker``, started by grading/_bounded.py.

This one imports the grader once and forks the workers, which takes milliseconds; when a worker is killed it forks another.
Standard input has all pairs as JSON, ``[[question, [accepted answers], answer], ...]``.  To standard output goes a line for each,
``[its place, correct, reason, score]``, in any order.  Nothing is pickled.
"""

import importlib
import json
import mmap
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import IO, Any

from smartad.grading import Grade
from smartad.grading._bounded import FAULT, Pair
from smartad.processes import die_with_parent, exit_reason
from smartad.records import writable
from smartad.types import Question

REASON_CHARS = 300
"""So that a line is less than 4,096 bytes, which a pipe takes in one piece whoever else writes."""
ANEW = 3
"""How a worker ends that wants another in its place."""
PLACE = 4
"""Bytes of a pair's place."""


def main() -> None:
    """Arguments: the grader's module, the parent's pid, the number of workers, CPU seconds and bytes for an answer."""
    name, parent, workers, cpu_s, memory = sys.argv[1:]
    die_with_parent(int(parent), signal.SIGKILL)
    module = importlib.import_module(name)
    pairs: list[Pair] = [(Question("", text, tuple(golds)), answer) for text, golds, answer in json.load(sys.stdin)]
    with tempfile.TemporaryFile(buffering=0) as todo, redirect_stdout(sys.stderr):  # parsers print warnings
        # The workers share the file and so its offset: whoever reads a place has it to itself.
        todo.write(b"".join(at.to_bytes(PLACE) for at in range(len(pairs))))
        todo.seek(0)
        if hasattr(module, "warm"):
            module.warm()
        at_work = [mmap.mmap(-1, PLACE + 1) for _ in range(int(workers))]
        slots = {_fork(module, pairs, todo, slot, float(cpu_s), int(memory)): slot for slot in at_work}
        while slots:
            pid, status = os.wait()
            slot, code = slots.pop(pid), os.waitstatus_to_exitcode(status)
            if code not in (0, ANEW):
                if code == -signal.SIGKILL or not slot[0]:
                    sys.exit(f"a worker ended by {exit_reason(code)}, and not for what it was given")
                _say(int.from_bytes(slot[1:]), Grade(None, _verdict(code, float(cpu_s))))
            if code:
                slots[_fork(module, pairs, todo, slot, float(cpu_s), int(memory))] = slot


def _fork(module: Any, pairs: Sequence[Pair], todo: IO[bytes], slot: mmap.mmap, cpu_s: float, memory: int) -> int:
    parent = os.getpid()
    slot[0] = 0
    if pid := os.fork():
        return pid
    status = 1
    try:
        die_with_parent(parent, signal.SIGKILL)
        if sys.platform == "linux":
            limit = _address_space() + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        status = _work(module, pairs, todo, slot, cpu_s)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _work(module: Any, pairs: Sequence[Pair], todo: IO[bytes], slot: mmap.mmap, cpu_s: float) -> int:
    """Grade until there is nothing left: 0; or until something went wrong that the next answer must not feel: ``ANEW``."""
    while place := todo.read(PLACE):
        slot[1:], slot[0] = place, 1
        # Nothing of this process is asked when the time is over: the kernel kills it, in the middle of a multiplication too.
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        try:
            grade, status = module.grade(*pairs[int.from_bytes(place)]), 0
        except MemoryError:
            grade, status = Grade(None, "gave up: it takes too much memory"), ANEW
        except Exception as error:
            grade, status = Grade(None, f"{FAULT}{type(error).__name__}: {error}"), ANEW
        signal.setitimer(signal.ITIMER_PROF, 0)
        slot[0] = 0
        _say(int.from_bytes(place), grade)
        if status:
            return status
    return 0


def _say(at: int, grade: Grade) -> None:
    reason = writable(grade.reason)[:REASON_CHARS]
    os.write(1, json.dumps([at, grade.correct, reason, grade.score]).encode() + b"\n")


def _verdict(code: int, cpu_s: float) -> str:
    """Why a worker is gone, in words for the answer it was at."""
    if code == -signal.SIGPROF:
        return f"gave up after {cpu_s:g} s of CPU time"
    return f"gave up: its process ended by {exit_reason(code)}"


def _address_space() -> int:
    """Bytes that this process has mapped."""
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[0]) * mmap.PAGESIZE


if __name__ == "__main__":
    main()
