"""A table as rows of texts, whichever way round it stands: what every form of it is written from."""

from collections.abc import Sequence
from dataclasses import dataclass

from smartad.tables.data import AVERAGE, MICRO, Rank, Table
from smartad.tables.words import about


@dataclass(frozen=True)
class Box:
    """One number."""

    lines: Sequence[str]
    """The number, and what was asked for besides."""
    rank: Rank
    mark: str
    measured: bool
    about: str
    """What stands behind it; empty unless it was asked for."""


@dataclass(frozen=True)
class Line:
    """One row."""

    heads: tuple[str, ...]
    """Empty where a text is that of the row above."""
    boxes: Sequence[Box]


@dataclass(frozen=True)
class Grid:
    """A table to be written."""

    heads: Sequence[str]
    """Of the columns that name a row."""
    groups: Sequence[tuple[str, int]]
    """Title, and how many of ``columns`` it stands over; "" over the averages.  None where one title would say nothing."""
    columns: Sequence[str]
    blocks: Sequence[Sequence[Line]]
    """With a rule between them."""


def grid(table: Table, abouts: bool = False) -> Grid:
    """``abouts``: with what stands behind each number, which takes statsmodels for its interval."""
    def box(row: str, column: str) -> Box:
        entry = table.rows[row][column]
        return Box(table.lines(row, column), entry.rank, table.marks.get((row, column), ""), entry.percent is not None,
                   about(table, row, column) if abouts else "")

    averages = [column for column in table.columns if column in (AVERAGE, MICRO)]
    if table.transposed:
        blocks = table.blocks()
        labels = [label for block in blocks.values() for label in block]
        return Grid(("Benchmark",), [(size, len(block)) for size, block in blocks.items()] if len(blocks) > 1 else [],
                    [table.heading(label)[-1] for label in labels],
                    [[Line((table.header(column),), [box(label, column) for label in labels]) for column in columns]
                     for columns in (*table.groups.values(), averages) if columns])
    groups = [(title, len(names)) for title, names in table.groups.items()]
    over = [*groups, *([("", len(averages))] if averages else [])]
    return Grid(table.heads, over if any(title for title, _ in groups) else [],
                [table.header(column) for column in table.columns],
                [_unrepeated([Line(table.heading(label), [box(label, column) for column in table.columns]) for label in block])
                 for block in table.blocks().values()])


def _unrepeated(lines: Sequence[Line]) -> list[Line]:
    """Lines without what the one above says already; the last text names the row, and stays."""
    found: list[Line] = []
    above: tuple[str, ...] = ()
    for line in lines:
        same = 0
        while same < len(line.heads) - 1 and line.heads[:same + 1] == above[:same + 1]:
            same += 1
        found.append(Line(("",) * same + line.heads[same:], line.boxes))
        above = line.heads
    return found
