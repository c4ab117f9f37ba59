"""A table's cells as CSV: what statistics are made from."""

import csv
import io
import re
from collections.abc import Mapping, Sequence

from smartad.records import visible
from smartad.stats import wilson
from smartad.tables.data import RunCells, Table
from smartad.types import Cell

COLUMNS = ["row", "seed", "group", "benchmark", "correct", "n", "ungraded", "pass@1", "source", "note", "grader", "questions",
           "size", "low", "high", "mark", "paper"]
FORMULA = re.compile(r"[=\t\r]|[+\-@].*(\w\(|[|!])", re.DOTALL)
"""What a spreadsheet would run: behind a sign, only what calls a function, a program or another sheet."""


def as_csv(table: Table, rows: Mapping[str, Sequence[RunCells]], seeds: Mapping[str, Sequence[int]]) -> str:
    """The cells that ``table`` was built of, one line each.  Unmeasured cells have empty fields and a note, and so have rows that
    only a layout has.

    ``seeds``: label -> those of its ``rows``; of what has none, as a pool, the field is empty.  low and high bound the 95 %
    Wilson interval of pass@1, in percent.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for label in table.rows:
        for seed, run in zip(seeds.get(label, [""]), rows.get(label, [RunCells({})]), strict=True):
            for group, names in table.groups.items():
                for name in names:
                    paper = table.printed.get((label, name))
                    cell = run.cells.get(name)
                    numbers, about, bounds = _fields(cell)
                    note = run.note or ("" if cell else "not measured")
                    fields = [label, seed, group, name, *numbers, note, *about, table.sizes.get(label, ""), *bounds,
                              table.marks.get((label, name), ""), paper.text if paper else ""]
                    writer.writerow([_text(field) if isinstance(field, str) else field for field in fields])
    return file.getvalue()


def _text(field: str) -> str:
    """As no spreadsheet runs it; ``+ NLL selection``, which is no formula that could do anything, stays what it is."""
    return f"'{visible(field)}" if FORMULA.match(field) else visible(field)


def _fields(cell: Cell | None) -> tuple[list[object], list[object], list[object]]:
    if cell is None:
        return [""] * 5, [""] * 2, [""] * 2
    percent = "" if cell.percent is None else f"{cell.percent:.4f}"
    bounds = [f"{bound:.4f}" for bound in wilson(*cell.draws)] if cell.n else [""] * 2
    return ([cell.correct, cell.n, cell.ungraded, percent, cell.source],
            [cell.grader, cell.n if cell.questions is None else cell.questions], list(bounds))
