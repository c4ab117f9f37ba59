"""Graders, one module each: what decides whether an answer is right.

A module has ``VERSION``, ``KINDS`` (the kinds of question it can tell) and either ``grade(question, answer) -> Grade``, or
``grade_all(pairs, setup)`` when it asks others (a judge, a sandbox).  With ``BOUNDED = True``, ``grade`` runs in processes that
are killed when an answer takes too much of their CPU time (grading/_bounded.py); it is told a question's text and accepted
answers, and what the module's ``settled(question, answer) -> Grade | None`` knows without algebra starts no process.
``JUDGE = True``: it asks a model, and its calls are on the bill.  ``SCORE = "f1"``: its grades have a score, and that is what
it is called.
To add one, write ``smartad/grading/<name>.py``; nothing else lists it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from smartad import plugins
from smartad.stage import Metrics, Runtime
from smartad.types import Kind, Question, UserError


@dataclass(frozen=True)
class Grade:
    """What a grader says of one answer."""

    correct: bool | None
    """None: it cannot be told; counted as ungraded, never as 0 or as 1."""
    reason: str
    score: float | None = None
    """From 0 to 1, for graders that know more than right and wrong (F1)."""


@dataclass(frozen=True)
class Setup:
    """What graders work with."""

    judge: str | None = None
    """The model that graders with ``JUDGE`` ask."""
    second_judge: str | None = None
    """Another, asked the same, to see whether they agree."""
    runtime: Runtime = field(default_factory=Runtime)


def names() -> list[str]:
    """The graders there are."""
    return plugins.names(__name__)


def get(name: str) -> Any:
    """The module of grader ``name``.  Raises UserError naming the others when there is none."""
    return plugins.get(__name__, "grader", name)


def check(name: str, kind: Kind) -> None:
    """Raises UserError when there is no grader ``name``, or it cannot tell what is right for questions of ``kind``."""
    if kind not in get(name).KINDS:
        able = [other for other in names() if kind in get(other).KINDS]
        raise UserError(f"grader {name} is not for {kind} questions, but for {', '.join(get(name).KINDS)}; for {kind} there are "
                        f"{', '.join(able)}")


def versioned(name: str) -> str:
    """``math_strict/1``: the grader and its version, as verdicts name it."""
    return f"{name}/{get(name).VERSION}"


def signature(versioned_name: str, setup: Setup) -> str:
    """What a verdict is signed with: ``math_strict/1``, and of a judge ``qa_judge/1 (qwen-plus)``, since it is the model's."""
    judged = getattr(get(versioned_name.partition("/")[0]), "JUDGE", False)
    return f"{versioned_name} ({setup.judge})" if judged else versioned_name


def score_name(by: str) -> str:
    """What the scores of grader ``by``, as verdicts name it, are called."""
    return str(getattr(get(by.partition("/")[0]), "SCORE", "score"))


def grade_all(name: str, answered: Sequence[tuple[Question, str | None]], setup: Setup) -> tuple[list[Grade], Metrics]:
    """What grader ``name`` says of each answer, in their order, and what is to be known of how it went.

    Without a gold answer nothing can be graded, no answer neither.  With one, no answer or a blank one is wrong whatever the gold
    says, and its score is 0.
    """
    module = get(name)
    wrong = Grade(False, "no answer", 0.0 if hasattr(module, "SCORE") else None)
    grades = [_without_looking(question, answer, wrong) for question, answer in answered]
    pairs = [(question, answer) for (question, answer), known in zip(answered, grades, strict=True)
             if known is None and answer is not None]
    if hasattr(module, "grade_all"):
        found, metrics = module.grade_all(pairs, setup)
    elif getattr(module, "BOUNDED", False):
        from smartad.grading import _bounded

        found = _bounded.grade_all(module, pairs, setup.runtime.threads, setup.runtime.progress)
        metrics = {"grader_faults": _bounded.faults(found)}
    else:
        found, metrics = [module.grade(question, answer) for question, answer in pairs], {}
    rest = iter(found)
    return [known or next(rest) for known in grades], metrics


def _without_looking(question: Question, answer: str | None, wrong: Grade) -> Grade | None:
    if question.tests is None and not any(gold.strip() for gold in question.answers):
        return Grade(None, "no gold answer")
    return wrong if answer is None or not answer.strip() else None
