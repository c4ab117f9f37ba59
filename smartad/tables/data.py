"""What a comparison table is, before it is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from smartad.stats import Share, wilson
from smartad.tables.printed import Printed, beside
from smartad.types import Cell

AVERAGE = "Avg"
"""The macro average, as in the papers: every benchmark counts the same."""
MICRO = "Micro"
"""The micro average: every question counts the same."""
HOLE = "–"
"""What stands where nothing was measured.  Never a zero."""
STOPPED = "stopped"
"""What stands in a row that was not brought to its end, because it was hopeless.  Never the low score it had so far."""

Rank = Literal["", "best", "second"]


@dataclass(frozen=True)
class RunCells:
    """One run (seed) of a row: its cells by benchmark, or why there are none."""

    cells: Mapping[str, Cell]
    note: str = ""
    """failed, unfinished, ...; empty when the row it belongs to is finished."""


@dataclass(frozen=True)
class Entry:
    """One number of the table, over a row's seeds."""

    percent: float | None
    """pass@1; the mean over seeds.  None: not measured."""
    sd: float | None
    """Sample standard deviation over seeds; None for a single one."""
    n: str
    """Graded attempts of one seed (of an average: of all benchmarks); ``5/10`` when the seeds differ, ``820 of 164 questions``
    when each was asked several times."""
    ungraded: int
    """Over all seeds."""
    runs: int
    """Seeds that ``percent`` is the mean of; those that share one result count once."""
    note: str = ""
    rank: Rank = ""
    part: tuple[int, int] | None = None
    """(seeds it is the mean of, seeds there are to be), while they are not the same."""
    draws: tuple[float, int] | None = None
    """(right, out of) as an interval must take them; None where there is no such interval, as of a macro average."""
    shares: tuple[Share, ...] = ()
    """Of a macro average, ``draws`` of its benchmarks over those seeds that it is the mean of."""
    reach: tuple[float, float] = (0.0, 100.0)
    """``percent`` if all that is ungraded were wrong, and if it were right."""
    source: tuple[str, ...] = ()
    """Fingerprints of the grade stages it was counted from, one for each seed; of an average none."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % Wilson interval in percent.  Several seeds answer the same questions, so a question is one draw, however many
        seeds there are.  It is about other questions; luck in training is not in it."""
        return None if self.draws is None or not self.draws[1] else wilson(*self.draws)

    @property
    def lacking(self) -> str:
        """``1 of 3 seeds``; empty when none is missing."""
        return f"{self.part[0]} of {self.part[1]} seeds" if self.part else ""

    def text(self, with_n: bool = False) -> str:
        """``71.3 ±2.1``, and what must not be overlooked: ungraded attempts, missing seeds, an n of its own, or why there is
        nothing."""
        if self.percent is None:
            return f"[{self.ungraded} ungraded]" if self.ungraded else self.note or HOLE
        parts = [f"{self.percent:.1f}"]
        if self.sd is not None:
            parts.append(f"±{self.sd:.1f}")
        if self.part:
            parts.append(f"({self.lacking})")
        if with_n:
            parts.append(f"(n={self.n})")
        if self.ungraded:
            parts.append(f"[{self.ungraded} ungraded]")
        return " ".join(parts)


@dataclass(frozen=True)
class Table:
    """A table ready to be printed.  Columns are called by their benchmark, ``AVERAGE`` or ``MICRO``."""

    title: str
    groups: Mapping[str, Sequence[str]]
    """Group title -> benchmarks; the averages are in none."""
    rows: Mapping[str, Mapping[str, Entry]]
    """Label -> column -> entry.  Rows of one size follow one another."""
    graders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Benchmark -> who decided, with versions; several where cells differ."""
    heads: Sequence[str] = ("Method",)
    """Names of the columns that name a row, such as Params, Type, Method."""
    heads_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label -> its texts in those columns, where they are not the label alone."""
    sizes: Mapping[str, str] = field(default_factory=dict)
    """Label -> size of its model.  Best and second are among those of one size."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Column -> how it is printed, where that is otherwise: hotpotqa -> HotPotQA."""
    transposed: bool = False
    """Benchmarks are the rows, as in SmartAD's Tables 4-6."""
    average: bool = True
    """Whether there is an average."""
    micro: bool = False
    """Whether the micro average stands beside the macro one."""
    marks: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(label, benchmark) -> mark of a cell that was not made as the others were, such as a."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Mark -> what differs."""
    remarks: Sequence[str] = ()
    """What else is to be said below, a line each."""
    printed: Mapping[tuple[str, str], Printed] = field(default_factory=dict)
    """(label, column) -> what the paper prints."""
    intervals: bool = False
    """Whether every number is printed with its interval."""

    @property
    def benchmarks(self) -> list[str]:
        """In the order of the columns."""
        return [name for names in self.groups.values() for name in names]

    @property
    def columns(self) -> list[str]:
        """Benchmarks in order, then what there is of averages."""
        return [*self.benchmarks, *([AVERAGE] if self.average else []), *([MICRO] if self.micro else [])]

    def blocks(self) -> dict[str, list[str]]:
        """Size -> labels of its rows.  One block without a size when no row has one."""
        found: dict[str, list[str]] = {}
        for label in self.rows:
            found.setdefault(self.sizes.get(label, ""), []).append(label)
        return found

    def n(self, column: str) -> str | None:
        """The n that a column's measured entries share, or None when they differ."""
        return self._ns[column]

    @cached_property
    def _ns(self) -> dict[str, str | None]:
        """Looked for once: every entry asks, and of a thousand rows each would look at all."""
        found = {column: {row[column].n for row in self.rows.values() if row[column].percent is not None}
                 for column in self.columns}
        return {column: ns.pop() if len(ns) == 1 else None for column, ns in found.items()}

    def header(self, column: str) -> str:
        """The column's name with the n its entries share."""
        name = self.names.get(column, column)
        return name if column in (AVERAGE, MICRO) or self.n(column) is None else f"{name} (n={self.n(column)})"

    def heading(self, label: str) -> tuple[str, ...]:
        """What names a row: a text for each of ``heads``."""
        return self.heads_of.get(label, ("",) * (len(self.heads) - 1) + (label,))

    def text(self, row: str, column: str) -> str:
        """An entry as text, with its own n when the column's entries differ."""
        return self.rows[row][column].text(with_n=column not in (AVERAGE, MICRO) and self.n(column) is None)

    def lines(self, row: str, column: str) -> list[str]:
        """``text``, and below it what was asked for besides: the interval, what the paper prints."""
        entry, printed = self.rows[row][column], self.printed.get((row, column))
        return [self.text(row, column), *([between(entry.interval)] if self.intervals and entry.interval else []),
                *([] if printed is None else [beside(entry.percent, entry.shares or [entry.draws], printed)])]


def between(interval: tuple[float, float]) -> str:
    """``(41.5–66.1)``."""
    return f"({interval[0]:.1f}–{interval[1]:.1f})"
