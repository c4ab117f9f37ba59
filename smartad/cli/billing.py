"""The bill on the terminal: what is expected, and the real one beside it."""

from collections.abc import Iterable, Sequence
from dataclasses import fields

from rich.table import Table as RichTable

from smartad.cli.console import console
from smartad.store import Store
from smartad.sweep.bill import Compared, Cost, Line, compare, saved
from smartad.sweep.ledger import Ledger

UNKNOWN = "?"
HEADS = {"gpu_hours": "GPU-h", "cpu_hours": "CPU-h", "tokens": "tokens", "judge_calls": "judge", "gigabytes": "GB"}
assert set(HEADS) < {field.name for field in fields(Cost)}


def bill_table(lines: Sequence[Line]) -> RichTable:
    """What missing stages will take: a row per kind and per way to know it, and their sum."""
    grid = _grid("bill", "stages", "each", *HEADS.values(), "estimated from")
    for line in lines:
        seconds = line.cost.seconds
        each = UNKNOWN if seconds is None else duration(seconds / len(line.fingerprints))
        grid.add_row(line.stage, str(len(line.fingerprints)), each, *(number(getattr(line.cost, name)) for name in HEADS),
                     line.basis)
    count = sum(len(line.fingerprints) for line in lines)
    grid.add_row("total", str(count), "", *_sums([line.cost for line in lines], HEADS), style="bold")
    _explain(grid, any(None in vars(line.cost).values() for line in lines))
    return grid


def real_table(rows: Sequence[Compared]) -> RichTable:
    """What was expected, and the real bill beside it: ``expected / real``.  What nobody needed has no column."""
    names = [name for name in HEADS if any(getattr(cost, name) for row in rows for cost in (row.expected, row.real) if cost)]
    grid = _grid("expected / real", "stages", *(HEADS[name] for name in names))
    for row in rows:
        grid.add_row(row.stage, _share(row.finished, row.stages),
                     *(f"{_expected(row, name)} / {number(getattr(row.real, name))}" for name in names))
    expected = _sums([row.expected for row in rows if row.expected], names)
    real = _sums([row.real for row in rows], names)
    count = _share(sum(row.finished for row in rows), sum(row.stages for row in rows))
    grid.add_row("total", count, *(f"{e} / {r}" for e, r in zip(expected, real, strict=True)), style="bold")
    _explain(grid, any(None in vars(cost).values() for row in rows for cost in (row.expected, row.real) if cost))
    return grid


def _share(finished: int, stages: int) -> str:
    return str(stages) if finished == stages else f"{finished} of {stages}"


def _expected(row: Compared, name: str) -> str:
    return number(getattr(row.expected, name)) if row.expected else ""


def bill_of(store: Store, book: Ledger) -> RichTable | None:
    """The real bill of a sweep beside the expected one; None when nothing was expected of it, or it had nothing to run."""
    bill = saved(store, book.name)
    rows = compare(store, book, bill) if bill else []
    return real_table(rows) if rows else None


def print_bill(store: Store, book: Ledger) -> None:
    """Print ``bill_of``, when there is one."""
    if table := bill_of(store, book):
        console().print(table)


def number(value: float | None) -> str:
    """Two or three digits; what is not known is not 0."""
    if value is None:
        return UNKNOWN
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g}{unit}"
    if 0 < value < 0.001:
        return "<0.001"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


def duration(seconds: float) -> str:
    """For reading, two digits."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            value = seconds / size
            return f"{value:.1f} {unit}" if value < 10 and unit != "min" else f"{value:.0f} {unit}"
    if 0 < seconds < 0.01:
        return "<0.01 s"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def _sums(costs: Sequence[Cost], names: Iterable[str]) -> list[str]:
    """Per column; ``≥ x`` where only a part of it is known."""
    texts = []
    for name in names:
        values = [getattr(cost, name) for cost in costs]
        known = [value for value in values if value is not None]
        text = number(sum(known)) if known else UNKNOWN
        texts.append(f"≥ {text if text[0] != '<' else 0}" if known and len(known) < len(values) else text)
    return texts


def _grid(*columns: str) -> RichTable:
    grid = RichTable(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        grid.add_column(column, justify="left" if column in (columns[0], "estimated from") else "right",
                        no_wrap=column != "estimated from")
    return grid


def _explain(grid: RichTable, unknown: bool) -> None:
    grid.caption = "what failed stages took is not in it" + (f"; {UNKNOWN}: not known, which is not 0" if unknown else "")
    grid.caption_justify, grid.caption_style = "left", "dim"
