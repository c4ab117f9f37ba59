"""The papers' own slips: where their tables do not agree with themselves, with each other or with the text."""

from dataclasses import dataclass
from functools import cache

from smartad.config import load
from smartad.papers import FOLDER, get

KINDS = {
    "average": "its numbers average to",
    "share": "the nearest shares of its questions are",
    "twice": "the same condition has",
    "underline": "it is",
    "text": "against the text,",
}
"""Kind -> how it is said."""


@dataclass(frozen=True)
class Slip:
    """One number that does not fit."""

    kind: str
    table: str
    row: str
    column: str
    printed: str
    found: str
    """What it should be, or what stands against it."""
    quote: str = ""
    """What the text says."""
    against: tuple[str, ...] = ()
    """(table, row, column) of the number that stands against it: of the same condition, or not below it as the text has it."""

    def text(self) -> str:
        """In a sentence."""
        paper = get(self.table)
        where = f"{paper.title}, {' '.join(paper.heads_of(self.row))}, {paper.names.get(self.column, self.column)}"
        said = f" “{self.quote}”:" if self.quote else ""
        return f"{where}: {self.printed}; {KINDS[self.kind]}{said} {self.found}."


@dataclass(frozen=True)
class _File:
    slips: list[Slip]


@cache
def slips() -> tuple[Slip, ...]:
    """All of them."""
    return tuple(load(_File, [str(FOLDER / "slips.yaml")]).slips)


def of(table: str) -> list[Slip]:
    """Those of one table, and those that it has the other number of."""
    return [slip for slip in slips() if table in (slip.table, *slip.against[:1])]
