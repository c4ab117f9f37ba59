"""Programs graded by their tests: what an answer means, and that nothing but returning the right values makes one right.

Programs that mean harm are run behind bubblewrap, which puts a namespace around them.
"""

import dataclasses
import os
import re
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest

from enclosed import bwrap
from scripted import PAPER, Script, block
from smartad import grading
from smartad.agents import Setup, codeact, no_search
from smartad.agents.executor import Interpreters
from smartad.dialect import PROMPTS, stop_strings
from smartad.grading import code_tests
from smartad.stage import Runtime
from smartad.types import Question, UserError

pytestmark = pytest.mark.slow

PROMPT = 'from math import pi\n\ndef helper(x):\n    return x + 1\n\ndef after(x):\n    """The number after x."""\n'
TESTS = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(x=-1) == 0\n"
AFTER = Question("made/0", PROMPT, (), tests=TESTS, entry_point="after")
SECRET = Question("made/1", "def f(x):\n", (), tests="def check(candidate):\n    assert candidate(1) == 'secret-5c1b'\n",
                  entry_point="f")
"""Nobody can know what is right here, so whoever is right has cheated."""


def graded(answers, question=AFTER, **runtime):
    pairs = [(question, answer) for answer in answers]
    return grading.grade_all("code_tests", pairs, grading.Setup(runtime=Runtime(**runtime)))[0]


WHOLE = "def after(x):\n    return x + 1"
RIGHT = {
    "a body": "    return x + 1\n",
    "a body of another indentation": "\treturn x + 1",
    "a body that lost its first blanks": "y = x\n    return y + 1",
    "a body that lost them all": "if x:\n    return x + 1\nreturn 1",
    "a whole function": WHOLE,
    "a whole function, indented": "    def after(x):\n        return x + 1",
    "a lambda": "after = lambda x: x + 1",
    "helpers of its own": f"def more(x):\n    return x\n\n{WHOLE.replace('x + 1', 'more(x) + 1')}",
    "the question's helpers": "def after(x):\n    return helper(x) if pi > 3 else None",
    "the question's text again": PROMPT + "    return x + 1",
    "a future import": f"from __future__ import annotations\n{WHOLE}",
    "a fence": f"Here it is:\n```python\n{WHOLE}\n```\nI hope this helps.",
    "a fence without a language": f"```\n{WHOLE}\n```",
    "a fence that is not closed": f"```python\n{WHOLE}\n",
    "a body in a fence": "```python\n    return x + 1\n```",
    "a body in a fence that lost its blanks": "```py\nreturn x + 1\n```",
    "an indented fence": "1. So:\n   ```python\n   def after(x):\n       return x + 1\n   ```",
    "the last of two functions": f"```python\ndef after(x):\n    return x\n```\nNo, that is wrong:\n```python\n{WHOLE}\n```",
    "a function and then how to call it": f"```python\n{WHOLE}\n```\nFor example:\n```python\nprint(after(2))\n```",
    "a body with a name of the function's": "    after = x\n    return after + 1\n",
    "a body with a name of the function's that lost its first blanks": "after = x\n    return after + 1",
    "a body with a function of the function's name": "    def after(y):\n        return y + 1\n    return after(x)",
    "a function and then its name for what it returns": f"```\n{WHOLE}\n```\nFor example:\n```\nafter = after(2)\n```",
    "a body in a fence and then its name for what it returns":
        "```\n    after = x\n    return after + 1\n```\nSo:\n```\nafter = after(2)\n```",
    "a dataclass": "from dataclasses import dataclass\n@dataclass\nclass Box:\n    x: int\n"
                   + WHOLE.replace("x + 1", "Box(x).x + 1"),
    "a main block": f"{WHOLE}\nif __name__ == '__main__':\n    after = None",
    "what it prints": WHOLE.replace("return", "print('failed'); return"),
    "a short sleep": f"import time\n{WHOLE.replace('return', 'time.sleep(0.1); return')}",
}
WRONG = {
    "a wrong body": ("    return x", r"fails: assert candidate\(1\) == 2$"),
    "right only once": ("    return 2", r"fails: assert candidate\(x=-1\) == 0$"),
    "prose": ("I cannot write this.", "does not run: SyntaxError"),
    "another function": ("```python\ndef before(x):\n    return x - 1\n```", r"fails: assert candidate\(1\) == 2"),
    "an exception": ("    return 1 / 0", r"fails: assert candidate\(1\) == 2: ZeroDivisionError: division by zero"),
    "its own exception": ("    class Odd(Exception): pass\n    raise Odd('so')", "RuntimeError: Odd: so"),
    "no input": ("    return input('a number')", "EOFError"),
    "no function after all": ("after = 2", "does not run: NameError: it defines no function after"),
    "nothing": ("    pass", r"fails: assert candidate\(1\) == 2"),
    "a function as value": ("    return after", "TypeError: a value of type function, which is none of Python's plain types"),
    "a long sleep": ("    import time\n    time.sleep(10)\n    return x + 1", "^timeout$"),
}


@pytest.fixture(scope="module")
def grades():
    answers = {**RIGHT, **{name: answer for name, (answer, _) in WRONG.items()}}
    return dict(zip(answers, graded(answers.values()), strict=True))


@pytest.mark.parametrize("name", RIGHT)
def test_answer_that_means_the_right_program_is_right(grades, name):
    assert grades[name] == grading.Grade(True, "passes the tests")


def test_grades_are_the_same_with_1_and_4_workers(grades):
    answers = {**RIGHT, **{name: answer for name, (answer, _) in WRONG.items()}}
    assert graded(answers.values(), threads=4) == list(grades.values())


@pytest.mark.parametrize("name", WRONG)
def test_answer_that_does_not_is_wrong_and_says_why(grades, name):
    assert grades[name].correct is False
    assert re.search(WRONG[name][1], grades[name].reason), grades[name].reason


HOSTILE = {
    "builtins patched": "import builtins\nbuiltins.AssertionError = builtins.isinstance = builtins.str = lambda *a: True\n"
                        "def f(x): return ''",
    "equal to everything": "class All:\n    def __eq__(self, other): return True\ndef f(x): return All()",
    "a text equal to everything": "class All(str):\n    def __eq__(self, other): return True\n    __hash__ = str.__hash__\n"
                                  "def f(x): return All('x')",
    "the modules of this side patched": "import json, sys\nfor name in ('values', 'programs'):\n"
                                        "    module = sys.modules['smartad.agents.' + name]\n"
                                        "    module.encode = module.decode = lambda value: '{\"failed\": null}'\n"
                                        "def f(x): return 1",
    "exit": "import os\ndef f(x): os._exit(0)",
    "exit at once": "import os\nos._exit(0)",
    "SystemExit": "def f(x): raise SystemExit(0)",
    "SystemExit at once": "def f(x): return 1\nraise SystemExit",
    "abort": "import os\ndef f(x): os.abort()",
    "a crash": "import ctypes\ndef f(x): return ctypes.string_at(0)",
    "says passed": "print('passed')\ndef f(x): print('passed'); return 'passed'",
    "speaks for the tests": "import os\nos.write(3, b'{\"failed\": null}\\n' * 9)\ndef f(x): return 1",
    "speaks for the tests when asked": "import os\ndef f(x): os.write(3, b'{\"failed\": null}\\n' * 9)",
    "answers beforehand": "import os\nos.write(3, b'{\"value\": \"1\"}\\n' * 99)\ndef f(x): return 1",
    "no JSON": "import os\nos.write(3, b'\\xff\\n')\ndef f(x): return 1",
    "an object that is none": "import os\ndef f(x): os.write(3, b'{\"raised\": null}\\n')",
    "an object that is none at once": "import os\nos.write(3, b'{\"raised\": null}\\n')\ndef f(x): return 1",
    "a list for an answer": "import os\ndef f(x): os.write(3, b'[]\\n')",
    "a value that is no text": "import os\ndef f(x): os.write(3, b'{\"value\": null}\\n')",
    "deep brackets": "import os\ndef f(x): os.write(3, b'{\"value\": \"' + b'[' * 60000 + b'\"}\\n')",
    "deep brackets outside": "import os\ndef f(x): os.write(3, b'[' * 60000 + b'\\n')",
    "a set of lists": "import os\ndef f(x): os.write(3, b'{\"value\": \"{\\\\\"set\\\\\": [[1]]}\"}\\n')",
    "a made-up kind of value": "import os\ndef f(x): os.write(3, b'{\"value\": \"{\\\\\"eval\\\\\": \\\\\"1\\\\\"}\"}\\n')",
    "a list in itself": "def f(x):\n    deep = []\n    deep.append(deep)\n    return deep",
    "a deep list": "def f(x):\n    deep = []\n    for _ in range(10**5): deep = [deep]\n    return deep",
    "a long text": "def f(x): return 'x' * 10**8",
    "memory": "def f(x): return len(bytearray(10**10))",
    "memory bit by bit": "kept = []\ndef f(x):\n    while True: kept.append(bytearray(10**7))",
    "recursion": "def f(x): return f(x)",
    "forks": "import os\ndef f(x):\n    while True: os.fork()",
    "threads": "import threading\ndef f(x): threading.Thread(target=f).start()",
    "a shell": "import subprocess\ndef f(x): return subprocess.run(['sh', '-c', 'echo'])",
    "kills": "import os\ndef f(x):\n    for pid in (0, 1, os.getppid()): os.kill(pid, 9)",
    "its stream closed": "import os\ndef f(x): os.close(3)",
    "its stream closed at once": "import os\nos.close(3)\ndef f(x): return 1",
    "an exception that does not say": "class Odd(Exception):\n    def __str__(self): raise SystemExit\ndef f(x): raise Odd",
    "an exception of a false name": "Odd = type('SystemExit', (BaseException,), {})\ndef f(x): raise Odd",
    "a name that is no text": "class Named(type):\n    __name__ = property(lambda cls: 1)\n"
                              "class Odd(Exception, metaclass=Named): pass\ndef f(x): raise Odd",
    "an endless loop": "def f(x):\n    while True: pass",
    "an endless loop at once": "while True: pass",
    "ignores signals": "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n"
                       "    except (OSError, ValueError): pass\ndef f(x):\n    while True: pass",
    "looks for it": """
import gc, os, sys
SEARCHED = "secret" + "-"
def texts():
    frame = sys._getframe()
    while frame:
        yield from (repr(value) for value in [*frame.f_locals.values(), *frame.f_code.co_consts])
        frame = frame.f_back
    for one in gc.get_objects():
        yield repr(one) if not isinstance(one, type(sys)) else repr(vars(one))
    yield repr((sys.argv, dict(os.environ)))
    for pid in ("self", os.getpid(), os.getppid(), 1):
        for name in ("environ", "cmdline", "maps", "mem"):
            try:
                yield open(f"/proc/{pid}/{name}", errors="replace").read(10**7)
            except OSError:
                pass
    for folder in ("/", "/tmp", "/home", "/root", os.getcwd()):
        try:
            yield from (open(os.path.join(folder, name), errors="replace").read(10**5) for name in os.listdir(folder))
        except OSError:
            pass
def f(x):
    for text in texts():
        if (at := text.find(SEARCHED)) >= 0:
            return text[at:at + 11]
    return "nothing"
""",
}


@pytest.fixture(scope="module")
def verdicts():
    """Of all hostile programs, and of one that happens to be right, before and after them: it must not matter."""
    bwrap()
    answers = {"before": "def f(x): return 'secret-5c1b'", **HOSTILE, "after": "    return 'secret-5c1b'"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_tests, "LIMITS", dataclasses.replace(code_tests.LIMITS, cpu_s=1))
        found = graded(answers.values(), SECRET, sandbox="bubblewrap", threads=2)
    return dict(zip(answers, found, strict=True))


@pytest.mark.parametrize("name", HOSTILE)
def test_program_that_cheats_or_harms_is_wrong(verdicts, name):
    assert verdicts[name].correct is False and verdicts[name].reason


def test_programs_beside_those_that_harm_are_graded_as_ever(verdicts):
    assert verdicts["before"] == verdicts["after"] == grading.Grade(True, "passes the tests")
    assert verdicts["an endless loop"].reason == "timeout"
    assert verdicts["looks for it"].reason == "fails: assert candidate(1) == 'secret-5c1b'"


@pytest.mark.parametrize("program", ["import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
                                     "import signal\nsignal.raise_signal(signal.SIGSTOP)"])
def test_program_that_waits_for_nothing_is_ended_by_the_clock(program, monkeypatch):
    monkeypatch.setattr(code_tests, "LIMITS", dataclasses.replace(code_tests.LIMITS, step_timeout_s=0.5))
    assert graded([program]) == [grading.Grade(False, "timeout")]


def test_program_does_not_pay_for_the_time_of_its_tests(monkeypatch):
    monkeypatch.setattr(code_tests, "LIMITS", dataclasses.replace(code_tests.LIMITS, step_timeout_s=2.0))
    slow = "def check(candidate):\n    import time\n    time.sleep(1.2)\n    assert candidate(1) == 2\n"
    assert graded([f"import select\nselect.select([], [], [], 1.2)\n{WHOLE}"],
                  dataclasses.replace(AFTER, tests=slow))[0].correct is True


def test_program_that_has_to_wait_for_a_processor_is_not_ended_by_the_clock(monkeypatch):
    monkeypatch.setattr(code_tests, "LIMITS", dataclasses.replace(code_tests.LIMITS, step_timeout_s=1.0))
    work = "import time\nwhile time.process_time() < {}: pass\n" + WHOLE
    others = []

    def crowd(done, total):
        if not others:  # a session each: the kernel may share processors out among sessions
            others.extend(subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"], start_new_session=True)
                          for _ in range(6))

    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    try:
        first, crowded = graded([WHOLE, work.format(0.6)], progress=crowd)
    finally:
        os.sched_setaffinity(0, processors)
        for other in others:
            other.kill()
            other.wait()
    assert (first.correct, crowded) == (True, grading.Grade(True, "passes the tests"))


def test_program_that_the_clock_ends_is_ungraded_where_nobody_knows_whether_it_had_a_processor(monkeypatch):
    monkeypatch.setattr(Interpreters, "starved_s", lambda *_: None)  # a kernel that does not tell
    monkeypatch.setattr(code_tests, "LIMITS", dataclasses.replace(code_tests.LIMITS, step_timeout_s=0.5))
    [grade] = graded(["import signal\nsignal.raise_signal(signal.SIGSTOP)"])
    assert grade.correct is None and "this kernel does not tell whether the machine was too busy" in grade.reason


def test_arguments_are_the_programs_own():
    """What it does to them is not seen by the tests, so it can neither spoil nor help them."""
    question = dataclasses.replace(SECRET, tests="def check(candidate):\n    xs = [1, 2]\n    assert candidate(xs) == xs[::-1]\n")
    tidy, sly = graded(["def f(xs):\n    xs.reverse()\n    return xs", "def f(xs):\n    xs.clear()\n    return xs"], question)
    assert (tidy.correct, sly.correct) == (True, False)


def test_what_a_program_remembers_lasts_for_its_tests_and_no_longer():
    answer = "import math\nmath.calls = getattr(math, 'calls', 0)\ndef f(x):\n    math.calls += 1\n    return math.calls"
    question = dataclasses.replace(SECRET, tests="def check(candidate):\n    assert [candidate(1), candidate(1)] == [1, 2]\n")
    assert [grade.correct for grade in graded([answer] * 3, question)] == [True] * 3


def test_tests_run_the_questions_helpers_and_not_the_programs():
    tests = "def check(candidate):\n    assert candidate(3) == helper(3)\n    assert after(4) == 5\n"
    cheat = "def after(x):\n    return 0\ndef helper(x):\n    return 0"
    right, wrong = graded([WHOLE, cheat], dataclasses.replace(AFTER, tests=tests))
    assert right.correct and wrong == grading.Grade(False, "fails: assert candidate(3) == helper(3)")


def test_exception_that_tests_expect_is_the_programs():
    tests = ("def check(candidate):\n    try:\n        candidate(-1)\n    except KeyError as error:\n"
             "        assert 'low' in str(error)\n    else:\n        assert False\n")
    right, wrong = graded(["    raise KeyError('low')", "    raise IndexError('low')"], dataclasses.replace(AFTER, tests=tests))
    assert right.correct and not wrong.correct


@pytest.mark.parametrize(("tests", "reason"), [
    ("def check(candidate):\n    assert 1 == 2\n", "the tests do not work: assert 1 == 2"),
    ("def check(candidate):\n    return", "the tests do not work: they never call the function"),
    ("def chek(candidate):\n    candidate(1)", "the tests do not work: KeyError: 'check'"),
    ("def check(", "the tests do not work: SyntaxError"),
])
def test_tests_that_fail_by_themselves_are_nobodys_wrong_answer(tests, reason):
    [grade] = graded([WHOLE], dataclasses.replace(AFTER, tests=tests))
    assert grade.correct is None and grade.reason.startswith(reason)


def test_no_wall_is_an_error_and_no_verdict():
    with pytest.raises(UserError, match="sandbox=moat: there is no such wall"):
        graded([WHOLE], sandbox="moat")


def test_server_that_is_gone_is_an_error_and_no_verdict():
    before = set(psutil.Process().children(recursive=True))

    def kill(done, total):
        for process in psutil.Process().children(recursive=True):  # those above before those below
            if process not in before:
                with suppress(psutil.NoSuchProcess):  # it has ended with the one above
                    process.kill()

    with pytest.raises(RuntimeError, match="the interpreter server is gone"):
        graded([WHOLE, "    while True: pass"], progress=kill)


def test_nothing_to_grade_starts_nothing():
    assert graded([None, " "], sandbox="moat") == [grading.Grade(False, "no answer")] * 2


def test_progress_counts_programs():
    told = []
    graded([WHOLE] * 3, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_source_that_an_agent_answers_with_is_graded(interpreters):
    """It is told to give the source of its function, and shown no test."""
    turn = block(f"source = '''\n{WHOLE}\n'''\nfinal_answer(source)")
    script = Script(turn)
    setup = Setup(PROMPTS["student"], PAPER, 5, no_search, stop_strings(PAPER), max_tokens=64, temperature=0.0)
    played = codeact.solve(AFTER, 0, 7, setup, script, interpreters)
    shown = "".join(message["content"] for message in script.seen[0])
    assert shown.endswith(f"The answer is its whole source code, as a string, and not what it returns.\n\n{PROMPT}")
    assert "check" not in shown and graded([played.answer]) == [grading.Grade(True, "passes the tests")]
