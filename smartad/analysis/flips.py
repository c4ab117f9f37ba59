"""Who flipped: the questions that one run has right and another has wrong, and where the two part."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from smartad.analysis.compare import counted
from smartad.analysis.outcomes import attempts_of, questions_of
from smartad.records import read_jsonl
from smartad.store import Store
from smartad.sweep.ledger import Run
from smartad.types import Question, Trajectory, UserError, Verdict

Kind = Literal["fixed", "broken", "same", "ungraded"]
"""``fixed``: wrong in A, right in B; ``broken``: right in A, wrong in B.  Wrong in both is the same, however it is wrong;
``ungraded``: one of them has no verdict."""


@dataclass(frozen=True)
class Flip:
    """One question, attempted by A and by B."""

    question: Question
    attempts: tuple[Trajectory, Trajectory]
    verdicts: tuple[Verdict, Verdict]
    kind: Kind
    parts_at: int | None
    """Index of the first step whose text is not the same in both, white space included; the length of the shorter where the other
    goes on.  None: what they wrote is the same, and they differ in what came back, or in the verdict."""


def both(store: Store, a: Run, b: Run, benchmark: str, grader: str | None = None) -> Iterator[Flip]:
    """Every attempt that both made, flipped or not, in the order of A's verdicts; of several at a question, those of the same
    number.  Whether they were asked the same is for ``questions_in_common`` to say.

    Seeds are looked at one by one: a flip is of two runs, each of which had the question right or wrong.  A majority over seeds
    has no trajectory to look at, and hides the questions that every seed answers otherwise.

    Raises UserError where a run has not finished the benchmark.
    """
    grades = [_grade(store, run, benchmark, grader) for run in (a, b)]
    verdicts = [{(v.question_id, v.sample): v for v in read_jsonl(store.folder(grade) / "verdicts.jsonl", Verdict)}
                for grade in grades]
    attempts = [{(t.question_id, t.sample): t
                 for t in read_jsonl(store.folder(attempts_of(store, grade)) / "trajectories.jsonl", Trajectory)}
                for grade in grades]
    questions = questions_of(store, grades[0])
    for key, first in verdicts[0].items():
        if (second := verdicts[1].get(key)) is not None:
            tried = attempts[0][key], attempts[1][key]
            yield Flip(questions[key[0]], tried, (first, second), _kind(first, second), parts_at(*tried))


def parts_at(a: Trajectory, b: Trajectory) -> int | None:
    """``Flip.parts_at``."""
    for at, (one, other) in enumerate(zip(a.steps, b.steps, strict=False)):
        if one.text != other.text:
            return at
    return None if len(a.steps) == len(b.steps) else min(len(a.steps), len(b.steps))


def _kind(a: Verdict, b: Verdict) -> Kind:
    if a.correct is None or b.correct is None:
        return "ungraded"
    return "same" if a.correct == b.correct else "fixed" if b.correct else "broken"


def _grade(store: Store, run: Run, benchmark: str, grader: str | None) -> str:
    grade = counted(store, run, benchmark, grader)
    if grade is None:
        raise UserError(f"{benchmark} is not finished with seed {run.seed} in {store.root}: {run.goal} has no verdicts on it yet")
    return grade
