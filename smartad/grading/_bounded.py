"""Graders that may be given anything to compute: they run in processes that are killed when one answer takes too much.

An answer is text that a model wrote, and 10**10**8 is a short one.  So ``grade`` of a grader with ``BOUNDED`` runs in processes
of its own (grading/_worker.py), and what it may take is counted in CPU time, which is the same beside other work.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import IO, Any

from smartad.grading import Grade
from smartad.processes import ProcessDied, exit_reason
from smartad.types import Question

CPU_S = 20.0
"""CPU seconds for one answer, 10 times what the longest of real ones took (docs/benchmarks.md)."""
MEMORY_GB = 2.0
"""Address space for one answer, on top of what the grader itself takes."""


def grade_all(module: Any, pairs: Sequence[tuple[Question, str]], workers: int = 1,
              progress: Callable[[int, int], None] = lambda done, total: None, *, cpu_s: float = CPU_S,
              memory_gb: float = MEMORY_GB) -> list[Grade]:
    """What ``module.grade`` says of each pair, in their order and whatever the number of ``workers``.

    It is asked once for the same accepted answers and the same answer, and knows nothing else of a question.  What a module's
    ``settled`` can tell without algebra starts no process.  Raises ProcessDied when a process was killed that kept its bounds.
    """
    places: dict[tuple[tuple[str, ...], str], list[int]] = {}
    for i, (question, answer) in enumerate(pairs):
        places.setdefault((question.answers, answer), []).append(i)
    settled = getattr(module, "settled", lambda question, answer: None)
    found: dict[tuple[tuple[str, ...], str], Grade] = {}
    done = 0

    def take(pair: tuple[tuple[str, ...], str], grade: Grade) -> None:
        nonlocal done
        if pair not in found:
            found[pair] = grade
            done += len(places[pair])
            progress(done, len(pairs))

    rest = []
    for golds, answer in places:
        known = settled(bare(golds), answer)
        if known is None:
            rest.append((golds, answer))
        else:
            take((golds, answer), known)
    if rest:
        _in_processes(module, rest, min(workers, len(rest)), take, cpu_s, memory_gb)
    return [found[question.answers, answer] for question, answer in pairs]


def bare(golds: Sequence[str]) -> Question:
    """A question of which only the accepted answers are known."""
    return Question("", "", tuple(golds))


def _in_processes(module: Any, pairs: Sequence[tuple[tuple[str, ...], str]], workers: int,
                  take: Callable[[tuple[tuple[str, ...], str], Grade], None], cpu_s: float, memory_gb: float) -> None:
    # sympy's order of terms, and so what it finds, changes with the hash seed.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "smartad.grading._worker", module.__name__, str(os.getpid()), str(workers), str(cpu_s),
             str(int(memory_gb * 2**30))]
    with tempfile.TemporaryFile("w+") as todo, tempfile.TemporaryFile("w+") as errors:
        json.dump(pairs, todo)
        todo.seek(0)
        # A session of its own: an interrupt is for this process, which ends the others.
        server = subprocess.Popen(words, stdin=todo, stdout=subprocess.PIPE, stderr=errors, env=environment,
                                  start_new_session=True)
        answered = set()
        try:
            assert server.stdout is not None
            for line in server.stdout:
                at, *said = json.loads(line)
                answered.add(at)
                take(pairs[at], Grade(*said))
            status = server.wait()
        finally:
            _end(server)
        missing = len(pairs) - len(answered)
        if status or missing:
            raise ProcessDied(f"{missing} answers were not graded: the processes of {module.__name__} ended by "
                              f"{exit_reason(status)}; they said: {_tail(errors)!r}")


def _end(server: "subprocess.Popen[bytes]") -> None:
    """It and those it forked, which are of its group."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    if server.stdout is not None:
        server.stdout.close()


def _tail(errors: IO[str]) -> str:
    errors.seek(0)
    return errors.read().strip()[-2000:]
