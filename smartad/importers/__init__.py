"""Formats of trajectories made elsewhere, one module each.

A module says with ``DIALECTS`` which text forms its turns are in (the likely one first), with ``REPEATS`` whether one file may
have several trajectories of a question, and with ``MARKS`` what it may find odd about a row that is good otherwise; ``read(row)``
makes a ``Found`` of a row or raises ``Unusable``.  To add one, write ``smartad/importers/<name>.py``; nothing else lists it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from smartad import plugins
from smartad.types import Step, StopReason

INVENTED = "invented_observation"
"""The mark every format shares: a turn goes on with an observation that the model made up."""
INVENTED_MEANS = "a turn holds an observation that the model made up; from there on it is never trained on"


class Unusable(ValueError):
    """A row is no trajectory.  ``kind`` is one word to count it by; the message says what is wrong."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


@dataclass(frozen=True)
class Found:
    """What one row holds."""

    question: str
    """The task alone, without instructions, examples and format requirements."""
    answers: tuple[str, ...]
    """Accepted ones; empty when the row has none: it can then not be graded."""
    steps: tuple[Step, ...]
    """At least one."""
    answer: str | None
    stop: StopReason
    tokens: int | None = None
    seconds: float | None = None
    claimed: bool | None = None
    """Whether its maker found the answer right; None when the row does not say."""
    marks: tuple[str, ...] = ()
    """Keys of the module's MARKS."""


class Importer(Protocol):
    """What a format's module offers."""

    DIALECTS: tuple[str, ...]
    REPEATS: bool
    MARKS: Mapping[str, str]

    def read(self, row: Mapping[str, Any]) -> Found:
        """The trajectory in one row.  Raises Unusable; a KeyError or the like is a row of another shape."""


def names() -> list[str]:
    """The formats there are."""
    return plugins.names(__name__)


def get(name: str) -> Importer:
    """The module of format ``name``.  Raises UserError naming the others when there is none."""
    return cast(Importer, plugins.get(__name__, "format", name))


def text(value: Any) -> str | None:
    """An answer as text, as ``final_answer`` would print it: 600.0 is "600.0", True is "True"; None stays None."""
    return value if value is None or isinstance(value, str) else str(value)


def gold(value: Any) -> tuple[str, ...]:
    """The accepted answers of a row that has one gold, or none: null and blanks are no gold."""
    written = text(value)
    return () if written is None or not written.strip() else (written,)
