"""What the papers print: their tables as data, with the rows called as the declared sweeps call them.

A table is a YAML file of this folder, over the one of its paper, which has what that paper's tables share.  Numbers are kept
as they are printed, so that what is printed with two decimals is known to be so.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from smartad.config import load
from smartad.tables import AVERAGE
from smartad.types import UserError

FOLDER = Path(__file__).parent
Kind = Literal["accuracy", "pools", "buckets"]
SIZE = "Params"
"""The head under which the papers have the size of the model."""


@dataclass(frozen=True)
class PaperRow:
    """One row; of a transposed table, one column."""

    printed: str
    """Its numbers in the order of the columns, as they are printed."""
    heads: tuple[str, ...] = ()
    """What names it in the paper, one text for each of the table's ``heads``; empty: its label."""
    underlined: tuple[str, ...] = ()
    """Columns that the paper marks as second best."""


@dataclass(frozen=True)
class PaperTable:
    """One printed table."""

    paper: str
    table: int
    """Its number."""
    caption: str
    groups: dict[str, list[str]]
    """Group title -> columns: benchmarks, training sets or buckets."""
    rows: dict[str, PaperRow]
    """By the label that the row has in a sweep's table: an arm, a pool, or a metric of buckets."""
    heads: tuple[str, ...] = ("Method",)
    """Names of the columns that name a row."""
    kind: Kind = "accuracy"
    """pools: what the teacher gets right of the training questions; buckets: what goes along with NLL."""
    sweep: str = ""
    """The declared sweep that measures it, in sweeps/."""
    transposed: bool = False
    """Whether the paper has the benchmarks as rows."""
    average: bool = True
    """Whether the last number of a row is the average of the others."""
    training_set: str = ""
    """Of buckets: whose trajectories."""
    student: str = ""
    """Of buckets: whose NLL."""
    names: dict[str, str] = field(default_factory=dict)
    """Column -> how the paper writes it; as it is where there is none."""
    n: dict[str, int] = field(default_factory=dict)
    """Column -> how many questions its numbers are shares of."""

    def __post_init__(self) -> None:
        for label, row in self.rows.items():
            if len(row.printed.split()) != len(self.columns):
                raise UserError(f"{self.title}: {label!r} has {len(row.printed.split())} numbers for {len(self.columns)} columns")
            if row.heads and len(row.heads) != len(self.heads):
                raise UserError(f"{self.title}: {label!r} is named by {len(row.heads)} texts under {len(self.heads)} heads")

    @property
    def title(self) -> str:
        """``SmartAD, Table 2``."""
        return f"{self.paper}, Table {self.table}"

    @property
    def columns(self) -> list[str]:
        """In the order printed."""
        return [*(name for names in self.groups.values() for name in names), *([AVERAGE] if self.average else [])]

    def texts(self, row: str) -> dict[str, str]:
        """Column -> what is printed there."""
        return dict(zip(self.columns, self.rows[row].printed.split(), strict=True))

    def value(self, row: str, column: str) -> float:
        """What is printed there, as a number."""
        return float(self.texts(row)[column])

    def share(self, row: str, column: str) -> tuple[float, float]:
        """(right, out of) that the number must have been rounded or cut from."""
        n = self.n[column]
        return round(self.value(row, column) * n / 100), n

    def heads_of(self, row: str) -> tuple[str, ...]:
        """What names a row in the paper."""
        return self.rows[row].heads or (row,)

    def size_of(self, row: str) -> str:
        """The model's size, "" where the table has one size only."""
        return dict(zip(self.heads, self.heads_of(row), strict=True)).get(SIZE, "")

    def lines(self) -> tuple[list[str], list[list[str]]]:
        """The table as it is printed: its header, and its lines."""
        header = [*self.heads, *(self.names.get(column, column) for column in self.columns)]
        lines = [[*self.heads_of(row), *self.texts(row).values()] for row in self.rows]
        if not self.transposed:
            return header, lines
        first, *rest = [list(line) for line in zip(header, *lines, strict=True)]
        return ["Benchmark", *first[1:]], rest


def names() -> list[str]:
    """The tables there are, each paper's in the order of their numbers."""
    found = (path.stem for path in FOLDER.glob("*_table*.yaml"))
    return sorted(found, key=lambda name: (name.partition("_table")[0], int(name.partition("_table")[2])))


@cache
def get(name: str) -> PaperTable:
    """The table called ``name``, such as ``smartad_table2``.  Raises UserError naming those there are."""
    if name not in names():
        raise UserError(f"no printed table {name!r}; there are {', '.join(names())}")
    return load(PaperTable, [str(FOLDER / f"{name.partition('_table')[0]}.yaml"), str(FOLDER / f"{name}.yaml")])


def of_rows(name: str) -> PaperTable:
    """The table called ``name``, when the table of a sweep can be laid out as it.  Raises UserError when not."""
    paper = get(name)
    if paper.kind == "buckets":
        others = ", ".join(name for name in names() if get(name).kind != "buckets")
        raise UserError(f"{name} is not of a sweep's rows but of its pools' buckets: smartad buckets SWEEP --paper.  Tables of "
                        f"rows are {others}")
    return paper
