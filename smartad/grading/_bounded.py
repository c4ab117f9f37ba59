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
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import smartad
from smartad.grading import Grade
from smartad.processes import ProcessDied, exit_reason
from smartad.types import Question

CPU_S = 20.0
"""CPU seconds for one answer: 14 times what the longest of some 11,000 to questions of mathematics took (docs/grading.md)."""
MEMORY_GB = 2.0
"""Address space for one answer, on top of what the grader itself takes."""
FAULT = "the grader failed: "
"""How the reason begins of what a fault of the grader left ungraded."""
Pair = tuple[Question, str]


def grade_all(module: Any, pairs: Sequence[tuple[Question, str]], workers: int = 1,
              progress: Callable[[int, int], None] = lambda done, total: None, *, cpu_s: float = CPU_S,
              memory_gb: float = MEMORY_GB) -> list[Grade]:
    """What ``module.grade`` says of each pair, in their order and whatever the number of ``workers``.

    It is told a question's text and accepted answers, and asked once where these and the answer are the same.  What a module's
    ``settled`` can tell without algebra starts no process.  Raises ProcessDied when a process ended that kept its bounds.
    """
    places: dict[Pair, int] = Counter((bare(question), answer) for question, answer in pairs)
    settled = getattr(module, "settled", lambda question, answer: None)
    found: dict[Pair, Grade] = {}
    done = 0

    def take(pair: Pair, grade: Grade) -> None:
        nonlocal done
        found[pair] = grade
        done += places[pair]
        progress(done, len(pairs))

    rest = []
    for pair in places:
        known = settled(*pair)
        if known is None:
            rest.append(pair)
        else:
            take(pair, known)
    if rest:
        _in_processes(module, rest, min(workers, len(rest)), take, cpu_s, memory_gb)
    return [found[bare(question), answer] for question, answer in pairs]


def faults(grades: Sequence[Grade]) -> int:
    """How many answers are ungraded by a fault of the grader; others only took too much."""
    return sum(grade.reason.startswith(FAULT) for grade in grades)


def bare(question: Question) -> Question:
    """What a grader is told of it."""
    return Question("", question.text, question.answers)


def _in_processes(module: Any, pairs: Sequence[Pair], workers: int, take: Callable[[Pair, Grade], None], cpu_s: float,
                  memory_gb: float) -> None:
    # sympy's order of terms, and so what it finds, changes with the hash seed.
    ours = os.pathsep.join(filter(None, [str(Path(smartad.__file__).parent.parent), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "PYTHONPATH": ours}
    # -P: what lies in the folder that somebody works in, beside answers that were downloaded, is not to be imported.
    words = [sys.executable, "-P", "-m", "smartad.grading._worker", module.__name__, str(os.getpid()), str(workers), str(cpu_s),
             str(int(memory_gb * 2**30))]
    with tempfile.TemporaryFile("w+") as todo, tempfile.TemporaryFile("w+") as errors:
        json.dump([[question.text, question.answers, answer] for question, answer in pairs], todo)
        todo.seek(0)
        # A session of its own: an interrupt is for this process, which ends the others.
        server = subprocess.Popen(words, stdin=todo, stdout=subprocess.PIPE, stderr=errors, env=environment,
                                  start_new_session=True)
        answered = set()
        try:
            assert server.stdout is not None
            for line in server.stdout:
                at, *said = json.loads(line)
                if at not in answered:
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
