"""Grade: (question, answer) -> Verdict, for a teacher's pool and for a student's attempts alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smartad import grading
from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Metrics, Runtime, Stage
from smartad.stages import questions_of
from smartad.types import Question, Trajectory, Verdict


@dataclass(frozen=True)
class GradeConfig:
    """Which grader; its version goes into every verdict."""

    grader: str = "exact"

    def __post_init__(self) -> None:
        grading.get(self.grader)


def run(config: GradeConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """Inputs questions/*, attempts.  Writes verdicts.jsonl, one row per trajectory in its order."""
    questions = questions_of(inputs)
    attempts = read_jsonl(inputs["attempts"] / "trajectories.jsonl", Trajectory)
    verdicts = [_verdict(questions[attempt.question_id], attempt, config.grader) for attempt in attempts]
    write_jsonl(out / "verdicts.jsonl", verdicts)
    return summary(verdicts)


def summary(verdicts: list[Verdict]) -> dict[str, float | None]:
    """correct, n (graded), ungraded, and pass@1 in percent (None when nothing was graded)."""
    graded = [v for v in verdicts if v.correct is not None]
    correct = sum(v.correct is True for v in graded)
    return {"correct": correct, "n": len(graded), "ungraded": len(verdicts) - len(graded),
            "pass@1": 100 * correct / len(graded) if graded else None}


def _verdict(question: Question, attempt: Trajectory, grader: str) -> Verdict:
    module = grading.get(grader)
    if attempt.stop == "engine_error":
        correct, reason = None, ": ".join(filter(None, ["the engine failed, not the model", attempt.reason]))
    else:
        correct, reason = module.grade(question, attempt.answer)
    return Verdict(attempt.question_id, attempt.sample, correct, f"{grader}/{module.VERSION}", reason)


GRADE = Stage("grade", version=1, run=run)
