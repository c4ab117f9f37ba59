"""Exact match, and what is not a wrong answer."""

import dataclasses

import pytest

from smartad import grading
from smartad.grading import get
from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Runtime
from smartad.stages.grade import GradeConfig, Graders, run
from smartad.types import Question, Trajectory, UserError, Verdict

exact = get("exact")


@pytest.mark.parametrize("gold, answer, correct", [
    ("12", "12", True), ("12", "12.0", True), ("12", " 12. ", True), ("1200", "1,200", True), ("12", "12.5", False),
    ("0.1", "0.10", True), ("0.3333", "0.33333", False), ("3", "300", False), ("12", "1,2", False),
    ("Paris", "paris.", True), ("Paris", "the Paris", True), ("Paris", "Paris, France", False), ("Paris", '"Paris"', True),
    (r"\frac{1}{2}", r"\boxed{\frac{1}{2}}", True), (r"\frac{1}{2}", r"$\frac{1}{2}$", True), (r"\frac{1}{2}", "0.5", False),
    ("a^2", "an^2", False), ("A", "the", False), ("(a+5)(b+2)", "(+5)(b+2)", False), ("a cat", "the cat", True),
    ("(1,2)", "(1, 2)", False), ("None", "None", True), ("yes", "no", False),
])
def test_exact_match(gold, answer, correct):
    assert exact.grade(Question("q", "?", (gold,)), answer).correct is correct


@pytest.mark.parametrize("answer", [None, "", "   "])
def test_no_answer_is_wrong_and_says_why(answer):
    assert grade(("None",), answer) == grading.Grade(False, "no answer")


@pytest.mark.parametrize("golds", [(), ("",), ("  ",)])
@pytest.mark.parametrize("answer", [None, "", "12"])
def test_missing_gold_is_ungraded_whatever_the_answer(golds, answer):
    assert grade(golds, answer) == grading.Grade(None, "no gold answer")


def test_any_accepted_answer_counts():
    assert grade(("JFK", "John F. Kennedy"), "john f. kennedy").correct


def grade(golds, answer):
    [found], _ = grading.grade_all("exact", [(Question("q", "?", golds), answer)], grading.Setup())
    return found


def test_unknown_grader_is_refused_with_the_ones_there_are():
    with pytest.raises(UserError, match="no grader 'judge'; there are .*exact"):
        Graders(math=["judge"])


@pytest.mark.parametrize(("graders", "message"), [
    ({"math": []}, r"grade\.math is empty; name at least one grader"),
    ({"qa": ["exact", "exact"]}, r"grade\.qa names a grader twice: exact, exact"),
    ({"code": ["exact"]}, r"grader exact is not for code questions, but for exact, math, qa"),
])
def test_graders_that_cannot_be_are_refused(graders, message):
    with pytest.raises(UserError, match=message):
        Graders(**graders)


def attempt(number, answer, stop="answered"):
    return Trajectory(f"b/{number}", 0, (), answer, stop, None, 0.0)


def test_grade_stage_counts_ungraded_apart(tmp_path):
    questions, attempts, out = (tmp_path / name for name in ("questions", "attempts", "out"))
    for folder in (questions, attempts, out):
        folder.mkdir()
    write_jsonl(questions / "questions.jsonl", [Question(f"b/{i}", "?", ("1",) if i < 4 else ()) for i in range(5)])
    write_jsonl(attempts / "trajectories.jsonl", [attempt(0, "1"), attempt(1, "2"), attempt(2, None, "max_steps"),
                                                  dataclasses.replace(attempt(3, None, "engine_error"), reason="503 no server"),
                                                  attempt(4, "1")])
    metrics = run(GradeConfig({"b": "exact/1"}), {"questions/b": questions, "attempts": attempts}, out, Runtime())
    assert metrics == {"correct": 1, "n": 3, "ungraded": 2, "pass@1": 100 / 3}
    verdicts = list(read_jsonl(out / "verdicts.jsonl", Verdict))
    assert [v.correct for v in verdicts] == [True, False, False, None, None]
    assert {v.by for v in verdicts} == {"exact/1"} and all(v.reason for v in verdicts)
    assert verdicts[3].reason == "the engine failed, not the model: 503 no server"


def test_pass_at_1_of_nothing_graded_is_not_a_number(tmp_path):
    write_jsonl(tmp_path / "questions.jsonl", [Question("b/0", "?", ())])
    write_jsonl(tmp_path / "trajectories.jsonl", [attempt(0, "1")])
    (tmp_path / "out").mkdir()
    inputs = {"questions/b": tmp_path, "attempts": tmp_path}
    assert run(GradeConfig({"b": "exact/1"}), inputs, tmp_path / "out", Runtime())["pass@1"] is None


def test_verdict_of_a_judge_is_signed_with_the_model_that_judged():
    setup = grading.Setup(judge="qwen-plus")
    assert grading.signature("qa_judge/1", setup) == "qa_judge/1 (qwen-plus)"
    assert grading.signature("qa_match/1", setup) == "qa_match/1"
