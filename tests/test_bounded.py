"""Graders in processes that are killed when an answer takes too much."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

import obedient_grader
from conftest import ROOT
from smartad.grading import Grade, Setup, _bounded, get, grade_all
from smartad.processes import ProcessDied
from smartad.stage import Runtime
from smartad.types import Question

pytestmark = pytest.mark.slow

QUESTION = Question("toy/1", "What?", ("7", "seven"))
GAVE_UP = "gave up after 0.3 s of CPU time"


@pytest.fixture(autouse=True)
def findable(monkeypatch, tmp_path):
    """The processes find the grader, and its notes are the test's."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'tests'}{os.pathsep}{ROOT}")
    monkeypatch.setenv("OBEDIENT_NOTES", str(tmp_path / "notes"))


def graded(*answers, workers=1, **options):
    asked = [(QUESTION, answer) for answer in answers]
    return _bounded.grade_all(obedient_grader, asked, workers, cpu_s=0.3, memory_gb=1, **options)


@pytest.mark.parametrize("workers", [1, 8])
def test_bounded_answers_that_take_too_much_are_ungraded_and_all_others_graded_in_their_order(workers):
    asked = ["7", "spin", "8", "power", "memory", "signal SIGSEGV", "leave", "raise it", "seven"]
    said = graded(*asked, workers=workers)
    right, wrong = Grade(True, "'' What? 7", 0.5), Grade(False, "'' What? 8", 0.5)
    assert said == [right, Grade(None, GAVE_UP), wrong, Grade(None, GAVE_UP), Grade(None, "gave up: it takes too much memory"),
                    Grade(None, "gave up: its process ended by SIGSEGV"),
                    Grade(None, "gave up: its process ended by exit status 7"),
                    Grade(None, "the grader failed: KeyError: 'it'"), Grade(True, "'' What? seven", 0.5)]


def test_bounded_faults_of_the_grader_are_counted_apart_from_work_that_was_given_up():
    said = graded("7", "raise it", "leave", "spin")
    assert [grade.correct for grade in said] == [True, None, None, None] and _bounded.faults(said) == 1


def test_bounded_answers_that_are_the_same_are_graded_once_and_progress_counts_all(tmp_path):
    seen = []
    said = graded("7", "8", "7", "7", "8", workers=2, progress=lambda done, total: seen.append((done, total)))
    assert [grade.correct for grade in said] == [True, False, True, True, False]
    assert sorted(line.split()[1] for line in (tmp_path / "notes").read_text().splitlines()) == ["7", "8"]
    assert seen[-1] == (5, 5) and len(seen) == 2


def test_bounded_reasons_and_answers_of_any_text_come_through():
    odd = ["\ud800", "\x00", "é" * 10**5, "a\nb", "\U0001f600" * 1000]
    said = graded(*odd)
    assert [grade.correct for grade in said] == [False] * 5
    assert said[0].reason.endswith("?") and said[3].reason.endswith("a\nb") and all(len(grade.reason) <= 300 for grade in said)


def test_bounded_grader_that_settles_all_starts_no_process():
    settled = lambda question, answer: Grade(answer in question.answers, "seen")  # noqa: E731
    module = SimpleNamespace(__name__="no.such.module", settled=settled)
    assert [grade.correct for grade in _bounded.grade_all(module, [(QUESTION, "7"), (QUESTION, "9")])] == [True, False]


def test_bounded_grader_that_cannot_be_imported_says_so():
    with pytest.raises(ProcessDied, match="1 answers were not graded.*no.such.module ended by exit status 1.*ModuleNotFound"):
        _bounded.grade_all(SimpleNamespace(__name__="no.such.module"), [(QUESTION, "7")])


def test_bounded_worker_killed_from_outside_is_no_verdict():
    with pytest.raises(ProcessDied, match="a worker ended by SIGKILL"):
        graded("7", "signal SIGKILL", "8")


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_bounded_processes_end_with_the_one_that_asked(by, tmp_path):
    script = "import signal, obedient_grader as module\n" \
             "from smartad.grading import _bounded\nfrom smartad.types import Question\n" \
             "signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it\n" \
             "pairs = [(Question('', '', ('7',)), f'spin {n}') for n in range(2)]\n_bounded.grade_all(module, pairs, 2)"
    asking = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    notes = tmp_path / "notes"
    until(lambda: notes.exists() and len(notes.read_text().splitlines()) == 2)
    workers = [int(line.split()[0]) for line in notes.read_text().splitlines()]
    server = parent_of(workers[0])
    asking.send_signal(by)
    said = asking.communicate(timeout=60)[1]
    until(lambda: not any(alive(pid) for pid in (server, *workers)))
    assert asking.returncode != 0 and said.count("Traceback") == (by == signal.SIGINT)


def test_grade_all_runs_a_bounded_grader_with_the_threads_of_the_runtime():
    seen = []
    runtime = Runtime(threads=2, progress=lambda done, total: seen.append((done, total)))
    half, goldless = Question("q/0", "?", (r"\frac{1}{2}",)), Question("q/1", "?", ())
    answered = [(half, "0.5"), (QUESTION, "7"), (QUESTION, " "), (goldless, "7")]
    said, metrics = grade_all("math_paper", answered, Setup(runtime=runtime))
    assert [grade.correct for grade in said] == [True, True, False, None]
    assert seen[-1] == (2, 2) and metrics == {"grader_faults": 0}


def until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid):
    try:
        return stat_of(pid)[0] != "Z"
    except OSError:
        return False


def parent_of(pid):
    return int(stat_of(pid)[1])


def stat_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


@pytest.mark.parametrize("name", ["math_paper", "math_strict"])
def test_bounded_grades_of_eight_workers_under_load_are_those_of_one(name):
    golds = [r"\frac{1}{2}", r"\left( 3, \frac{\pi}{2} \right)", "x=5"]
    given = [*golds, *(f"\\boxed{{{gold}}}" for gold in golds), "0.5", "x*x", "3^{2025}", "10**10**9"]
    pairs = [(Question("", "?", (gold,)), answer) for gold in golds for answer in given]
    alone = _bounded.grade_all(get(name), pairs, 1)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        beside = _bounded.grade_all(get(name), pairs, 8)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert alone == beside
    assert {grade.correct for grade in alone} >= {True, False}
