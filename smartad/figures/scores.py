"""pass@1 of a table's rows."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from smartad.figures import rows
from smartad.figures.points import Point, share
from smartad.stats import macro
from smartad.tables import AVERAGE, Entry, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 40
"""The rows with the best averages are drawn; more cannot be told apart."""
WHAT = "about other questions, and luck in training is not in them; n: graded questions, which count once for all seeds"


def point(entry: Entry) -> Point | None:
    """pass@1 of a cell with its interval, over a row's seeds; None of a hole."""
    return share(*entry.draws) if entry.draws else None


def points(entries: Mapping[str, Entry], benchmarks: Sequence[str]) -> dict[str, Point | None]:
    """Those of a row's cells, and of several benchmarks their macro average: None when one is missing."""
    found = {name: point(entries[name]) for name in benchmarks}
    return {**found, AVERAGE: _average(entries[AVERAGE])} if len(benchmarks) > 1 else found


def _average(entry: Entry) -> Point | None:
    """As in the table: of the seeds that have all benchmarks."""
    if entry.percent is None:
        return None
    low, high = macro(entry.shares)
    return Point(entry.percent, min(low, entry.percent), max(high, entry.percent), int(sum(n for _, n in entry.shares)))


def overall(entries: Mapping[str, Entry], benchmarks: Sequence[str]) -> float:
    """The macro average over those of ``benchmarks`` that are graded, in percent; -1 when none is.  For putting rows in order."""
    known = [percent for name in benchmarks if (percent := entries[name].percent) is not None]
    return sum(known) / len(known) if known else -1.0


def draw_scores(table: Table, labels: Sequence[str] = (), note: str = "") -> "Figure":
    """A panel per benchmark, and one of their average: pass@1 of every row with its interval, the best row on top.

    A hole of the table has no dot, and rows with one no average.  ``labels``: the rows to be drawn; without, all.  ``note`` ends
    the caption.
    """
    benchmarks = [name for names in table.groups.values() for name in names]
    every = list(labels or table.rows)
    shown = sorted(every, key=lambda label: overall(table.rows[label], benchmarks), reverse=True)[:ROWS]
    found = [points(table.rows[label], benchmarks) for label in shown]
    panels = {name: [of[name] for of in found] for name in found[0]} if found else {}
    best = f"The {ROWS} best of {len(every)} rows. " if len(every) > ROWS else ""
    mean = f"; {AVERAGE}: macro average" if AVERAGE in panels else ""
    return rows.dots(shown, panels, "pass@1", f"{table.title}: pass@1 in percent with 95 % Wilson intervals ({WHAT}){mean}. "
                     f"{best}{note}".strip())
