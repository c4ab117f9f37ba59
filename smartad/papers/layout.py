"""A sweep's table laid out as a paper's: its columns, names, order and sizes, and what it prints beside ours."""

import dataclasses
from collections.abc import Mapping, Sequence

from smartad.papers import SIZE, PaperTable
from smartad.tables import AVERAGE, HOLE, Printed, RunCells, Table, build

OTHERS = "Not in the paper"
"""Group of the benchmarks that a sweep has and the paper's table has not."""


def laid_out(paper: PaperTable, title: str, groups: Mapping[str, Sequence[str]], rows: Mapping[str, Sequence[RunCells]],
             sizes: Mapping[str, str] | None = None, beside: bool = False) -> Table:
    """The table of ``rows``, label -> its runs, as ``paper`` has it.

    What a sweep lacks of it is a hole; what a sweep has besides stands behind its benchmarks and below its rows, under its own
    name.  ``sizes``: of rows that the paper has not, label -> size.  ``beside``: with what the paper prints.
    """
    own = [name for names in groups.values() for name in names if name not in paper.columns]
    labels = list(dict.fromkeys([*paper.rows, *rows]))
    lacking = [RunCells({})] * max(map(len, rows.values()), default=1)
    of_size = {label: paper.size_of(label) if label in paper.rows else (sizes or {}).get(label, "") for label in labels}
    table = build(title, {**paper.groups, OTHERS: own}, {label: rows.get(label, lacking) for label in labels},
                  of_size if SIZE in paper.heads else None)
    remarks = [*table.remarks, f"Laid out as {paper.title}.", *_differences(paper, rows, own)]
    return dataclasses.replace(
        table, heads=paper.heads, heads_of={label: _heads(paper, label, of_size[label]) for label in labels}, names=paper.names,
        transposed=paper.transposed, average=paper.average, micro=table.micro and paper.average,
        remarks=remarks, printed=_printed(paper, averaged=not own) if beside else {})


def _heads(paper: PaperTable, label: str, size: str) -> tuple[str, ...]:
    """What names a row; one that the paper has not must not seem to be of the kind of the row above it."""
    if label in paper.rows:
        return paper.heads_of(label)
    return (*((size if head == SIZE and size else HOLE) for head in paper.heads[:-1]), label)


def _differences(paper: PaperTable, rows: Mapping[str, Sequence[RunCells]], own: Sequence[str]) -> list[str]:
    """What of the two does not meet, in words."""
    averaged = "; averages are over these too, and no printed one stands beside them" if paper.average else ""
    missing, more = [label for label in paper.rows if label not in rows], [label for label in rows if label not in paper.rows]
    return [*([f"Rows of the paper that this sweep has not: {_listed(missing)}."] if missing else []),
            *([f"Rows of this sweep that the paper has not: {_listed(more)}."] if more else []),
            *([f"Benchmarks that the paper's table has not: {', '.join(own)}{averaged}."] if own else [])]


def _listed(labels: Sequence[str]) -> str:
    return ", ".join([*labels[:6], *([f"and {len(labels) - 6} more"] if len(labels) > 6 else [])])


def _printed(paper: PaperTable, averaged: bool) -> dict[tuple[str, str], Printed]:
    """(label, column) -> what is printed.  A printed average stands beside one over the same benchmarks only."""
    found = {}
    for label in paper.rows:
        shares = {column: paper.share(label, column) for column in paper.columns if column != AVERAGE}
        for column, text in paper.texts(label).items():
            if column != AVERAGE:
                found[label, column] = Printed(text, (shares[column],))
            elif averaged:
                found[label, column] = Printed(text, tuple(shares.values()))
    return found
