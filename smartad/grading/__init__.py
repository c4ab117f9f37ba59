"""Graders, one module each: ``VERSION`` and ``grade(question, answer) -> (correct | None, reason)``.

To add one, write ``smartad/grading/<name>.py``; nothing else lists it.  One that asks a judge says so with ``JUDGE = True``:
its calls are on the bill.
"""

from typing import Protocol, cast

from smartad import plugins
from smartad.types import Question


class Grader(Protocol):
    """What a grader module offers."""

    VERSION: int

    def grade(self, question: Question, answer: str | None) -> tuple[bool | None, str]:
        """Whether ``answer`` is right, and why.  None: it cannot be told; counted as ungraded."""


def names() -> list[str]:
    """The graders there are."""
    return plugins.names(__name__)


def get(name: str) -> Grader:
    """The module of grader ``name``.  Raises UserError naming the others when there is none."""
    return cast(Grader, plugins.get(__name__, "grader", name))
