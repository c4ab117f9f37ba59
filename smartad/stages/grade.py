"""Grade: (question, answer) -> Verdict, for a teacher's pool and for a student's attempts alike."""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from smartad import grading
from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Metrics, Runtime, Stage
from smartad.stages import questions_of
from smartad.types import Kind, Question, Trajectory, UserError, Verdict


@dataclass(frozen=True)
class Graders:
    """Who grades which kind of question.  The first of a list is the one whose verdicts count: it filters the pool and fills the
    table.  The others grade the attempts too, so that disagreements can be looked at."""

    exact: list[str] = field(default_factory=lambda: ["exact"])
    math: list[str] = field(default_factory=lambda: ["math_strict", "math_paper"])
    qa: list[str] = field(default_factory=lambda: ["exact"])
    code: list[str] = field(default_factory=lambda: [])
    judge: str | None = None
    """The model that a judge is; where it is served, the site profile says."""
    second_judge: str | None = None
    """Another one, asked the same, to see whether they agree.  It decides nothing."""

    def __post_init__(self) -> None:
        for kind in get_args(Kind):
            named = self.of(kind)
            if not named and kind != "code":
                raise UserError(f"grade.{kind} is empty; name at least one grader")
            if len(set(named)) < len(named):
                raise UserError(f"grade.{kind} names a grader twice: {', '.join(named)}")
            for name in named:
                grading.check(name, kind)

    def of(self, kind: Kind) -> list[str]:
        """The graders of a kind of question."""
        return list(getattr(self, kind))


@dataclass(frozen=True)
class GradeConfig:
    """One grader for each set of questions."""

    graders: dict[str, str]
    """Set of questions -> its grader and that one's version, ``math_strict/1``."""
    judge: str | None = None
    second_judge: str | None = None
    """Both None where no grader asks one."""


def config_for(graders: Graders, kinds: Mapping[str, Kind], which: int = 0) -> GradeConfig:
    """What the stage is told.  ``kinds``: set of questions -> its kind.  ``which``: of each kind's graders."""
    chosen = {name: graders.of(kind)[which] for name, kind in kinds.items()}
    asks = any(getattr(grading.get(grader), "JUDGE", False) for grader in chosen.values())
    return GradeConfig({name: grading.versioned(grader) for name, grader in chosen.items()},
                       graders.judge if asks else None, graders.second_judge if asks else None)


def run(config: GradeConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """Inputs questions/*, attempts.  Writes verdicts.jsonl, one row per trajectory in its order.

    Metrics: those of ``summary``, and what a grader has to say of itself.
    """
    questions = questions_of(inputs)
    attempts = list(read_jsonl(inputs["attempts"] / "trajectories.jsonl", Trajectory))
    setup = grading.Setup(config.judge, config.second_judge, runtime)
    verdicts, metrics = verdicts_of(attempts, questions, config.graders, setup)
    write_jsonl(out / "verdicts.jsonl", verdicts)
    return {**summary(verdicts), **metrics}


def verdicts_of(attempts: Sequence[Trajectory], questions: Mapping[str, Question], graders: Mapping[str, str],
                setup: grading.Setup) -> tuple[list[Verdict], dict[str, float | None]]:
    """A verdict for each attempt, in their order, and what the graders say of how it went.  ``graders``: as in the config."""
    by_grader: dict[str, list[int]] = defaultdict(list)
    for i, attempt in enumerate(attempts):
        by_grader[graders[attempt.question_id.partition("/")[0]]].append(i)
    found: dict[int, Verdict] = {}
    metrics: dict[str, float | None] = {}
    for grader, places in by_grader.items():
        answered = [i for i in places if attempts[i].stop != "engine_error"]
        pairs = [(questions[attempts[i].question_id], attempts[i].answer) for i in answered]
        grades, more = grading.grade_all(grader.partition("/")[0], pairs, _shared(setup, len(found), len(attempts)))
        metrics |= more
        known = dict(zip(answered, grades, strict=True))
        for i in places:
            grade = known.get(i) or grading.Grade(None, ": ".join(filter(None, ["the engine failed, not the model",
                                                                                attempts[i].reason])))
            found[i] = Verdict(attempts[i].question_id, attempts[i].sample, grade.correct, grader, grade.reason, grade.score)
    return [found[i] for i in range(len(attempts))], metrics


def _shared(setup: grading.Setup, done: int, total: int) -> grading.Setup:
    """``setup`` for a grader that is one of several: its progress is a part of the whole."""
    progress = setup.runtime.progress
    runtime = dataclasses.replace(setup.runtime, progress=lambda mine, _: progress(done + mine, total))
    return dataclasses.replace(setup, runtime=runtime)


def summary(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    """correct, n (graded), ungraded, and pass@1 in percent (None when nothing was graded); score, the mean in percent, of graders
    that have one."""
    graded = [v for v in verdicts if v.correct is not None]
    correct = sum(v.correct is True for v in graded)
    scores = [v.score for v in graded if v.score is not None]
    return {"correct": correct, "n": len(graded), "ungraded": len(verdicts) - len(graded),
            "pass@1": 100 * correct / len(graded) if graded else None,
            **({"score": 100 * sum(scores) / len(scores)} if scores else {})}


GRADE = Stage("grade", version=2, run=run)
