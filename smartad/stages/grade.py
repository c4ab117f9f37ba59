"""Grade: (question, answer) -> Verdict, for a teacher's pool and for a student's attempts alike."""

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from smartad import grading
from smartad.records import read_jsonl, writable, write_jsonl
from smartad.stage import Metrics, Runtime, Stage
from smartad.stages import questions_of
from smartad.types import Cell, Kind, Question, Trajectory, UserError, Verdict

KS = tuple(digit * 10**power for power in range(4) for digit in (1, 2, 5))
"""Of which pass@k is told, as far as there are samples."""


@dataclass(frozen=True)
class Graders:
    """Who grades which kind of question.  The first of a list is the one whose verdicts count: it filters the pool and fills the
    table.  The others grade the attempts too, so that disagreements can be looked at."""

    exact: list[str] = field(default_factory=lambda: ["exact"])
    math: list[str] = field(default_factory=lambda: ["math_strict", "math_paper"])
    qa: list[str] = field(default_factory=lambda: ["qa_match"])
    code: list[str] = field(default_factory=lambda: ["code_tests"])
    judge: str | None = None
    """The model that a judge is; where it is served, the site profile says."""
    second_judge: str | None = None
    """Another one, asked the same, to see whether they agree.  It decides nothing."""

    def __post_init__(self) -> None:
        for kind in get_args(Kind):
            named = self.of(kind)
            if not named:
                raise UserError(f"grade.{kind} is empty; name at least one grader")
            if len(set(named)) < len(named):
                raise UserError(f"grade.{kind} names a grader twice: {', '.join(named)}")
            for name in named:
                grading.check(name, kind)
                if getattr(grading.get(name), "JUDGE", False) and self.judge is None:
                    raise UserError(f"grade.{kind} names {name}, and grade.judge is null: say which model it asks, as in "
                                    "grade.judge=qwen-plus; where that is, the site profile says under judges")
        if self.judge is not None and self.judge == self.second_judge:
            raise UserError(f"grade.second_judge={self.second_judge} is the judge itself, which agrees with itself; name another")

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
        by = grading.signature(grader, setup)
        for i in places:
            grade = known.get(i) or grading.Grade(None, ": ".join(filter(None, ["the engine failed, not the model",
                                                                                attempts[i].reason])))
            # A reason quotes what programs and judges say.
            found[i] = Verdict(attempts[i].question_id, attempts[i].sample, grade.correct, by, writable(grade.reason),
                               grade.score)
    return [found[i] for i in range(len(attempts))], metrics


def _shared(setup: grading.Setup, done: int, total: int) -> grading.Setup:
    """``setup`` for a grader that is one of several: its progress is a part of the whole."""
    progress = setup.runtime.progress
    runtime = dataclasses.replace(setup.runtime, progress=lambda mine, _: progress(done + mine, total))
    return dataclasses.replace(setup, runtime=runtime)


def summary(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    """correct, n (graded), ungraded, and pass@1 in percent (None when nothing was graded); of graders with a score, such as f1,
    its mean in percent by its name.  Of several samples also ``questions`` (those with a graded one) and pass@2, pass@5, pass@10,
    pass@20, ...

    pass@k is the mean of ``pass_at`` over the questions of which at least k samples were graded: what is ungraded is as if it had
    never been asked.
    """
    graded = [v for v in verdicts if v.correct is not None]
    scores = defaultdict(list)
    for verdict in graded:
        if verdict.score is not None:
            scores[grading.score_name(verdict.by)].append(verdict.score)
    asked = Counter(v.question_id for v in verdicts)
    samples = max(asked.values(), default=1)
    of, right = Counter(v.question_id for v in graded), Counter(v.question_id for v in graded if v.correct)
    passes: dict[str, float | None] = {}
    for k in [k for k in KS if k == 1 or k <= samples]:
        chances = [pass_at(k, n, right[question]) for question, n in of.items() if n >= k]
        passes[f"pass@{k}"] = 100 * math.fsum(chances) / len(chances) if chances else None
    return {"correct": right.total(), "n": len(graded), "ungraded": len(verdicts) - len(graded),
            **({"questions": len(of)} if samples > 1 else {}), **passes,
            **{name: 100 * sum(found) / len(found) for name, found in scores.items()}}


def cell(benchmark: str, verdicts: Sequence[Verdict], source: str) -> Cell:
    """What one grader's verdicts on a benchmark come to.  ``source``: the fingerprint of the stage that holds them."""
    return cell_of(benchmark, summary(verdicts), source, verdicts[0].by if verdicts else "")


def cell_of(benchmark: str, counts: Metrics, source: str, grader: str) -> Cell:
    """The cell of what ``summary`` says, which is among a grade stage's metrics."""
    questions = counts.get("questions")
    several = {} if questions is None else {"questions": int(questions), "mean": counts["pass@1"]}
    return Cell(benchmark, int(counts["correct"] or 0), int(counts["n"] or 0), int(counts["ungraded"] or 0), source,
                grader, **several)  # type: ignore[arg-type]


def pass_at(k: int, n: int, correct: int) -> float:
    """The chance that one of ``k`` samples is right, estimated without bias from ``n`` of which ``correct`` are.

    1 - C(n-c, k) / C(n, k), Eq. 1 of Chen et al. 2021.  Python's integers are exact, and so is their quotient but for its last
    digit: the product that is given there for fixed precision is not needed.  Raises ValueError when ``k`` is not in 1..n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} cannot be told from {n} samples")
    every = math.comb(n, k)
    return (every - math.comb(n - correct, k)) / every


GRADE = Stage("grade", version=2, run=run)
