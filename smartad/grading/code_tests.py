"""Programs, by their tests: right is what passes all of a problem's (HumanEval's functional correctness, Chen et al. 2021).

The program runs behind the wall, in a process without the tests; they run in another, behind the wall too, and are told nothing
but what its function returns (agents/programs.py).  CPU time is what ends it, so a busy machine changes no verdict.
"""

import re
import signal
import textwrap
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from smartad.agents.limits import CodeLimits
from smartad.grading import Grade, Setup
from smartad.stage import Metrics
from smartad.types import Question

if TYPE_CHECKING:
    from smartad.agents.executor import Interpreters

VERSION = 1
KINDS = ("code",)
LIMITS = CodeLimits(step_timeout_s=60.0, cpu_s=5, memory_gb=1.0, imports=[])
"""For a program and all its tests.  CPU time: forty times what HumanEval's slowest canonical solution takes (0.11 s, problem 75).
The clock ends only what waits for nothing: it runs while a process is asked, and not while it lacks a processor.  Memory is that
of an agent's code.  A part of VERSION, not of any config."""
FENCE = re.compile(r"^[ \t]*```[\w+-]*[ \t]*\n(.*?)(?:^[ \t]*```[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
INDENT = "    "
TIMEOUT = "timeout"
SAYS = {"program": ({"value"}, {"raised", "type"}), "tests": ({"call"}, {"failed"}, {"broken"})}
"""What a process of each role says: a program that has broken into its own may send anything."""


def grade_all(pairs: Sequence[tuple[Question, str]], setup: Setup) -> tuple[list[Grade], Metrics]:
    """A grade for each pair, in their order, ``setup.runtime.threads`` at a time.

    Raises UserError when this machine has no wall, RuntimeError when what stands behind it fails: that is no verdict.
    """
    from smartad.agents.executor import Interpreters

    if not pairs:
        return [], {}
    runtime = setup.runtime
    # Threads outside: when one of them raises, the others are waited for after what they wait for has ended.
    with ThreadPoolExecutor(max(1, runtime.threads), thread_name_prefix="tests") as threads, \
            Interpreters(LIMITS, runtime.sandbox) as interpreters:
        runtime.note(sandbox=interpreters.wall.about)
        waiting = [threads.submit(_grade, question, answer, interpreters) for question, answer in pairs]
        try:
            for done, future in enumerate(as_completed(waiting), 1):
                future.result()
                runtime.progress(done, len(pairs))
        finally:
            for future in waiting:
                future.cancel()
    return [future.result() for future in waiting], {}


def programs(question: Question, answer: str) -> list[str]:
    """What an answer may mean as a program, the likeliest first: the first of them that is Python is run.

    An answer in fences is what is in the last of them that defines the function; without one that does, in the last.  An answer
    that defines the function is put after the question's imports and helpers.  Any other is the function's body, whose
    indentation may have been lost, of its first line or of all; so is one that seems to define it and returns something outside
    of every function, which is no Python: the name is that of a variable of its own.
    """
    texts = FENCE.findall(answer) or [answer]
    whole = _last_that_defines(question.entry_point or "", texts)
    body = whole or texts[-1]
    bodies = [question.text + form for form in (body, INDENT + body.lstrip(), textwrap.indent(textwrap.dedent(body), INDENT))]
    if whole is None:
        return bodies
    flush = textwrap.dedent(whole)
    return [f"{helpers(question)}\n{flush}", flush, *bodies]  # flush alone, when it imports from __future__


def _last_that_defines(name: str, texts: Sequence[str]) -> str | None:
    """By ``def``; where none does, by ``name = ...``, which beside a ``def`` is how one calls it, as ``name = name(...)`` is."""
    for form in (rf"(?:async[ \t]+)?def[ \t]+{name}\b", rf"{name}[ \t]*[:=](?![ \t]*{name}\b)"):
        for text in reversed(texts):
            if re.search(f"^{form}", textwrap.dedent(text), re.MULTILINE):
                return text
    return None


def helpers(question: Question) -> str:
    """What a question's text defines besides the function, which is left empty."""
    return f"{question.text.rstrip()}\n{INDENT}pass\n"


def _grade(question: Question, answer: str, interpreters: "Interpreters") -> Grade:
    with _Process("program", interpreters) as program:
        try:
            ready = program.ask({"programs": programs(question, answer), "entry_point": question.entry_point})
        except _Ended as end:
            return Grade(end.correct, str(end))
        if "raised" in ready:
            return Grade(False, f"does not run: {ready['type']}: {ready['raised']}")
        with _Process("tests", interpreters) as tests:
            return _tested(question, program, tests)


def _tested(question: Question, program: "_Process", tests: "_Process") -> Grade:
    """Pass on what the tests ask and the program answers, until the tests have come to an end."""
    message: dict[str, Any] = {"helpers": helpers(question), "tests": question.tests, "entry_point": question.entry_point}
    answers = 0
    while True:
        try:
            said = tests.ask(message)
        except _Ended as end:
            if not answers:
                raise RuntimeError(f"{question.id}: the process of the tests ended before they began: {end}") from end
            return Grade(end.correct, f"{end}, while what it returned was compared")
        if "broken" in said:
            return Grade(None, f"the tests do not work: {said['broken']}")
        if "failed" in said:
            return Grade(True, "passes the tests") if said["failed"] is None else Grade(False, f"fails: {said['failed']}")
        try:
            message = program.ask({"call": said["call"]})
        except _Ended as end:
            return Grade(end.correct, str(end))
        answers += 1


class _Ended(Exception):
    """A process is gone, took too long, or says what it may not; the text is a verdict's reason."""

    def __init__(self, why: str, correct: bool | None = False) -> None:
        super().__init__(why)
        self.correct = correct


class _Process:
    """One side of ``agents.programs``.  A context manager; leaving it ends the process."""

    def __init__(self, role: str, interpreters: "Interpreters") -> None:
        from smartad.agents.executor import Conversation

        self._role, self._interpreters = role, interpreters
        # The seed decides what tests with arguments of chance ask.
        self._pid, self._link = interpreters.start({"seed": 0, "role": role})
        self._asked_until = time.monotonic()
        self._starved_s: float | None = 0.0
        self._stream = Conversation(self._link, self._asked_until + LIMITS.step_timeout_s, self._starved_since)

    def __enter__(self) -> "_Process":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """What it says to ``message``.  Raises _Ended when that is nothing that a process of its role says."""
        self._stream.forgive(time.monotonic() - self._asked_until)  # the other side was asked meanwhile
        try:
            self._stream.send(message)
            said = self._stream.receive()
        except TimeoutError:
            if self._starved_s is None:
                raise _Ended(f"{TIMEOUT}, and this kernel does not tell whether the machine was too busy", None) from None
            raise _Ended(TIMEOUT) from None
        except OSError:
            status = self._end()
            raise _Ended(TIMEOUT if status == -signal.SIGXCPU else "its process ended before its time") from None
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict) or set(said) not in SAYS[self._role] or \
                not all(isinstance(text, str | None) for text in said.values()):
            raise _Ended("it sends what is no answer, or is too long for one")
        self._asked_until = time.monotonic()
        return said

    def _starved_since(self) -> float:
        """Seconds for which it had no processor, since this was last asked."""
        before, self._starved_s = self._starved_s, self._interpreters.starved_s(self._pid)
        return 0.0 if before is None or self._starved_s is None else self._starved_s - before

    def _end(self) -> int | None:
        """How it ended; None when that has been told."""
        self._link.close()
        pid, self._pid = self._pid, 0
        return self._interpreters.end(pid) if pid else None
