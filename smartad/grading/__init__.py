"""Graders, one module each: ``VERSION`` and ``grade(question, answer) -> (correct | None, reason)``.

To add one, write ``smartad/grading/<name>.py``; nothing else lists it.
"""

import importlib
import pkgutil
from typing import Protocol, cast

from smartad.types import Question, UserError


class Grader(Protocol):
    """What a grader module offers."""

    VERSION: int

    def grade(self, question: Question, answer: str | None) -> tuple[bool | None, str]:
        """Whether ``answer`` is right, and why.  None: it cannot be told; counted as ungraded."""


def names() -> list[str]:
    """The graders there are."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def get(name: str) -> Grader:
    """The module of grader ``name``.  Raises UserError naming the others when there is none."""
    if name not in names():
        raise UserError(f"no grader {name!r}; there are {', '.join(names())}. "
                        f"To add one, write smartad/grading/{name}.py")
    return cast(Grader, importlib.import_module(f"{__name__}.{name}"))
