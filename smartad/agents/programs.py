"""A program and its tests, each in a process of its own, so that the tests are out of the program's sight.

Both are interpreters' processes (agents/interpreter.py), bounded as those are, but run plain Python.  One serves the function
that the program defines: it is sent arguments and answers with values, as text (agents/values.py).  In the other the tests
call a stand-in for it.  The parent passes on what they say to each other, so all that a program can do to its verdict is to
return something.
"""

import builtins
import resource
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable, Mapping
from typing import Any

from smartad.agents.running import Stream
from smartad.agents.values import decode, encode

CHARS = 300
"""Of what is said about a failure."""


def serve_function(link: Stream) -> None:
    """The program's side.  The first message has ``programs`` (what its text may have meant: the first that is Python is run) and
    ``entry_point``.  It and then each ``call`` are answered with a ``value`` or what was ``raised``, and its ``type``."""
    asked = link.read() or {}
    time.sleep = counting_sleep(resource.getrlimit(resource.RLIMIT_CPU)[0])  # type: ignore[assignment]
    try:
        function = _defined(asked["programs"], asked["entry_point"])
    except BaseException as error:  # a program may raise SystemExit
        link.write(_failure(error))
        return
    link.write({"value": encode(None)})
    for message in link.lines():
        link.write(_answer(function, message["call"]))


def counting_sleep(limit_s: float) -> Callable[[float], None]:
    """A ``time.sleep`` that takes no time but counts as CPU time does, so that no clock says whether a program is too slow."""
    slept = 0.0

    def sleep(seconds: float) -> None:
        nonlocal slept
        slept += max(0.0, seconds)
        if slept + time.process_time() > limit_s:
            signal.raise_signal(signal.SIGXCPU)

    return sleep


def _defined(programs: list[str], entry_point: str) -> Callable[..., Any]:
    module = types.ModuleType("program")
    sys.modules[module.__name__] = module  # where a dataclass looks up its own
    exec(_compiled(programs), module.__dict__)
    function = module.__dict__.get(entry_point)
    if not callable(function):
        raise NameError(f"it defines no function {entry_point}")
    return function


def _compiled(programs: list[str]) -> types.CodeType:
    errors: list[Exception] = []
    for text in programs:
        try:
            return compile(text, "<program>", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            errors.append(error)
    raise errors[0]


def _answer(function: Callable[..., Any], call: str) -> dict[str, str]:
    try:
        args, kwargs = decode(call)
        return {"value": encode(function(*args, **kwargs))}
    except BaseException as error:
        return _failure(error)


def _failure(error: BaseException) -> dict[str, str]:
    return {"raised": _text(error), "type": type(error).__name__}


def run_tests(link: Stream) -> None:
    """The tests' side.  The one message has ``helpers`` (Python to run before), ``tests`` and ``entry_point``; the answer is what
    ``failed``, None when nothing did, or how the tests are ``broken``: they failed before the program had said anything."""
    asked = link.read() or {}
    answers = 0

    def candidate(*args: Any, **kwargs: Any) -> Any:
        nonlocal answers
        link.write({"call": encode((args, kwargs))})
        answer = link.read()
        if answer is None:
            raise SystemExit
        answers += 1
        if "raised" in answer:
            raise _like(answer)
        return decode(answer["value"])

    space: dict[str, Any] = {"__name__": "tests"}
    try:
        exec(compile(asked["helpers"], "<helpers>", "exec"), space)
        space[asked["entry_point"]] = candidate  # which tests may call by its name, too (HumanEval/33)
        exec(compile(asked["tests"], "<tests>", "exec"), space)
        space["check"](candidate)
    except BaseException as error:
        link.write({"failed" if answers else "broken": _where(error, asked["tests"])})
    else:
        link.write({"failed": None} if answers else {"broken": "they never call the function"})


def _like(answer: Mapping[str, str]) -> Exception:
    """What the program raised, as the exception of Python's own that it was, for tests that expect one."""
    kind = getattr(builtins, answer["type"], None)
    try:
        if isinstance(kind, type) and issubclass(kind, Exception):
            return kind(answer["raised"])
    except TypeError:  # one that takes more than a text
        pass
    return RuntimeError(f"{answer['type']}: {answer['raised']}")


def _where(error: BaseException, tests: str) -> str:
    """The line of the tests that failed, and how."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<tests>"]
    line = tests.splitlines()[lines[-1] - 1].strip() if lines and lines[-1] else ""
    said = "" if isinstance(error, AssertionError) and line else f"{type(error).__name__}: {_text(error)}".removesuffix(": ")
    return ": ".join(filter(None, [line[:CHARS], said]))


def _text(error: BaseException) -> str:
    try:
        return str(error)[:CHARS]
    except BaseException:  # its text is the program's doing, too
        return "(it does not say what it is)"


ROLES: Mapping[str, Callable[[Stream], None]] = {"program": serve_function, "tests": run_tests}
"""What an interpreter's process does, where it runs no episode."""
