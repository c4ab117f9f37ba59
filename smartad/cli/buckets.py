"""buckets: what goes along with a trajectory's NLL under the untrained student (SmartAD, Tables 7-9, Fig. 4)."""

import argparse
import csv
import sys
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table as RichTable

from smartad import difficulty, papers, tables
from smartad.analysis import buckets
from smartad.cli.console import console
from smartad.papers import PaperTable
from smartad.store import Store
from smartad.types import UserError

Row = tuple[str | float | None, ...]
"""A line under ``difficulty.HEADER``."""


def buckets_command(args: argparse.Namespace) -> int:
    """A table per training set, student and pool."""
    store = Store(args.store)
    form = args.format or ("terminal" if sys.stdout.isatty() else "md")
    sources = buckets.sources(store, args.target)
    found = [(name, student, source.pool, list(difficulty.rows_of(difficulty.table(rows))))
             for source in sources for name, student, rows in buckets.measured(store, source)]
    if args.paper:
        printed = {name: _printed(name) for name, *_ in found}
        if not any(printed.values()):
            raise UserError(_not_printed(args.target, list(printed)))
        found = [(name, student, pool, _beside(rows, paper) if (paper := printed[name]) else rows)
                 for name, student, pool, rows in found]
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["set", "student", "pool", *difficulty.HEADER])
        writer.writerows([name, student, pool, *row] for name, student, pool, rows in found for row in rows)
        return 0
    several = len({source.pool for source in sources}) > 1
    for name, student, pool, rows in found:
        title = f"{name or 'all questions'} under {student}" + (f", {pool}" if several else "")
        _print(form, title, [[_text(row[0], value) for value in row] for row in rows])
    if form == "terminal":
        print("E, M, H: easy, medium, hard by NLL; G: of all trajectories together, PQ: of each question's.  Accuracy is over "
              "what was graded.\nH-E: hard minus easy (Fig. 4).  Trajectory length is that of the teacher's own text.")
    if args.paper and form != "tex":
        for paper in filter(None, printed.values()):
            print(f"paper: {paper.title}, under {paper.student}; difference: ours less what is printed.  Trajectories of one\n"
                  "question are alike, so their number does not tell what chance may have done, and there is no interval.")
    return 0


def _printed(name: str) -> PaperTable | None:
    """The printed table of a training set's trajectories."""
    return next((paper for paper in _of_buckets() if paper.training_set == name), None)


def _of_buckets() -> list[PaperTable]:
    return [paper for paper in map(papers.get, papers.names()) if paper.kind == "buckets"]


def _not_printed(target: str, sets: Sequence[str]) -> str:
    there = [f"{paper.training_set} ({paper.title})" for paper in _of_buckets()]
    return f"--paper: the trajectories of {target} are of {', '.join(sets)}, and what is printed is of {', '.join(there)}"


def _beside(rows: Sequence[Row], paper: PaperTable) -> list[Row]:
    """Below each row what the paper prints, and how far ours is from it."""
    theirs = {row[0]: row for row in difficulty.rows_of({name: {column: paper.value(name, column) for column in paper.columns}
                                                         for name in paper.rows})}
    found: list[Row] = []
    for row in rows:
        found.append(row)
        if printed := theirs.get(row[0]):
            found.append((f"{row[0]}, paper", *printed[1:]))
            found.append((f"{row[0]}, difference", *(None if ours is None or their is None else float(ours) - float(their)
                                                    for ours, their in zip(row[1:], printed[1:], strict=True))))
    return found


def _print(form: str, title: str, lines: Sequence[Sequence[str]]) -> None:
    if form == "md":
        print(f"{title}\n\n{tables.plain_markdown(difficulty.HEADER, lines)}")
    elif form == "tex":
        print(tables.plain_latex(difficulty.HEADER, lines, f"Buckets of trajectories: {title}."), end="")
    else:
        grid = RichTable(title=escape(title), title_justify="left")
        for column in difficulty.HEADER:
            grid.add_column(column, justify="left" if column == difficulty.HEADER[0] else "right", no_wrap=True)
        for line in lines:
            grid.add_row(*map(escape, line))
        console().print(grid)


def _text(name: object, value: str | float | None) -> str:
    """A cell for reading."""
    metric, _, which = str(name).partition(", ")
    form = f"{'+' if which == 'difference' else ''}{difficulty.ROWS[metric] or '.0f'}"
    return tables.HOLE if value is None else value if isinstance(value, str) else f"{value:{form}}"
