"""HumanEval through the grade stage and the command line, with its real problems."""

import gzip
import json

import pytest

from command import smartad
from smartad import grading
from smartad.benchmarks import humaneval
from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Runtime
from smartad.stages.grade import GradeConfig, run
from smartad.types import Cell, Question, Trajectory, Verdict

pytestmark = pytest.mark.slow


def attempts_of(folder, questions, answers):
    for name in ("questions", "attempts", "out"):
        (folder / name).mkdir()
    write_jsonl(folder / "questions" / "questions.jsonl", questions)
    write_jsonl(folder / "attempts" / "trajectories.jsonl",
                [Trajectory(name, sample, (), answer, "answered", None, 0.0) for name, sample, answer in answers])
    return {f"questions/{questions[0].id.partition('/')[0]}": folder / "questions", "attempts": folder / "attempts"}


def test_canonical_solutions_are_all_right_and_stubs_all_wrong(real_data, tmp_path):
    file = real_data / humaneval.SOURCE.file
    with gzip.open(file, "rt") as rows:
        solutions = [json.loads(row)["canonical_solution"] for row in rows]
    questions = humaneval.load(file)
    answers = [(question.id, 0, solution) for question, solution in zip(questions, solutions, strict=True)]
    answers += [(question.id, 1, "    pass\n") for question in questions[::8]]
    inputs = attempts_of(tmp_path, questions, answers)
    config = GradeConfig({"humaneval": grading.versioned("code_tests")})
    metrics = run(config, inputs, tmp_path / "out", Runtime(threads=2))
    assert (metrics["correct"], metrics["n"], metrics["ungraded"], metrics["questions"]) == (164, 185, 0, 164)
    assert metrics["pass@1"] == pytest.approx(100 * (143 + 21 / 2) / 164) and metrics["pass@2"] == 100.0
    found = list(read_jsonl(tmp_path / "out" / "verdicts.jsonl", Verdict))
    assert [v.correct for v in found] == [True] * 164 + [False] * 21


def test_example_samples_score_what_their_repository_says(real_data, tmp_path):
    problem = json.loads((real_data / "humaneval" / "example_problem.jsonl").read_text())
    samples = [json.loads(line)["completion"] for line in (real_data / "humaneval" / "example_samples.jsonl").open()]
    question = Question(problem["task_id"], problem["prompt"], (), tests=problem["test"], entry_point=problem["entry_point"])
    inputs = attempts_of(tmp_path, [question], [("test/0", i, answer) for i, answer in enumerate(samples)])
    metrics = run(GradeConfig({"test": "code_tests/1"}), inputs, tmp_path / "out", Runtime())
    assert (metrics["pass@1"], metrics["correct"], metrics["n"]) == (50.0, 3, 6)


def test_program_that_says_what_no_file_can_hold_is_one_wrong_answer(tmp_path):
    tests = "def check(candidate):\n    assert candidate(1) == 1\n"
    question = Question("test/0", "def f(x):\n", (), tests=tests, entry_point="f")
    answers = ["    raise ValueError('\\ud83d')", "    return x"]
    inputs = attempts_of(tmp_path, [question], [("test/0", i, answer) for i, answer in enumerate(answers)])
    run(GradeConfig({"test": "code_tests/1"}), inputs, tmp_path / "out", Runtime())
    wrong, right = read_jsonl(tmp_path / "out" / "verdicts.jsonl", Verdict)
    assert right.correct and (wrong.correct, wrong.reason) == (False, "fails: assert candidate(1) == 1: ValueError: ?")


def test_run_grades_programs_and_leaves_nothing_ungraded(real_data, tmp_path):
    """The toy student cannot write Python, so it is wrong; what it is not is ungraded."""
    smartad("run", "configs/toy.yaml", "benchmarks={in_domain: [], out_of_domain: [humaneval]}", "limits.questions=2",
            "train=null", "evaluate={agent: cot, dialect: text, prompt: code, samples: 2, temperature: 0.8}", f"data={real_data}",
            store=tmp_path / "store")
    [found] = [cell for path in (tmp_path / "store").glob("aggregate-*/cells.jsonl") for cell in read_jsonl(path, Cell)]
    assert (found.benchmark, found.correct, found.n, found.ungraded, found.questions) == ("humaneval", 0, 4, 0, 2)
    assert found.grader == grading.versioned("code_tests")
