"""buckets: what goes along with a trajectory's NLL under the untrained student (Tables 7-9, Fig. 4)."""

import argparse
import csv
import sys
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table as RichTable

from smartad import difficulty, tables
from smartad.analysis import buckets
from smartad.cli.console import console
from smartad.store import Store


def buckets_command(args: argparse.Namespace) -> int:
    """A table per training set, student and pool."""
    store = Store(args.store)
    form = args.format or ("terminal" if sys.stdout.isatty() else "md")
    sources = buckets.sources(store, args.target)
    found = [(name, student, source.pool, list(difficulty.rows_of(difficulty.table(rows))))
             for source in sources for name, student, rows in buckets.measured(store, source)]
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
    return 0


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
    return tables.HOLE if value is None else value if isinstance(value, str) else f"{value:{difficulty.ROWS[str(name)]}}"
