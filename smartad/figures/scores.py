"""pass@1 of a sweep's rows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from smartad.figures import rows
from smartad.figures.points import average, share
from smartad.tables import AVERAGE, RunCells

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 40
"""The rows with the best averages are drawn; more cannot be told apart."""


def pooled(runs: Iterable[RunCells], benchmark: str) -> tuple[float, int]:
    """(right, out of) over a row's seeds, as ``Cell.draws``; a cell that several seeds share counts once."""
    cells = {c.source: c for run in runs if (c := run.cells.get(benchmark))}.values()
    return sum(c.draws[0] for c in cells), sum(c.draws[1] for c in cells)


def overall(runs: Iterable[RunCells], benchmarks: Sequence[str]) -> float:
    """The macro average over those of ``benchmarks`` that are graded, in percent; -1 when none is.  For putting rows in order."""
    runs = list(runs)
    shares = [100 * correct / n for b in benchmarks for correct, n in [pooled(runs, b)] if n]
    return sum(shares) / len(shares) if shares else -1.0


def draw_scores(found: Mapping[str, Sequence[RunCells]], benchmarks: Sequence[str], note: str = "") -> "Figure":
    """A panel per benchmark, and one of their average: pass@1 of every row with its interval, the best row on top.

    Rows without a finished cell have no dot, and rows that miss a benchmark no average.  ``note`` ends the caption.
    """
    labels = sorted(found, key=lambda label: overall(found[label], benchmarks), reverse=True)[:ROWS]
    panels = {name: [share(*pooled(found[label], name)) for label in labels] for name in benchmarks}
    if len(benchmarks) > 1:
        panels[AVERAGE] = [average([panels[name][row] for name in benchmarks]) for row in range(len(labels))]
    best = f"The {ROWS} best of {len(found)} rows. " if len(found) > ROWS else ""
    return rows.dots(labels, panels, "pass@1", f"pass@1 in percent with 95 % Wilson intervals; n: graded attempts over all "
                     f"seeds. Avg: macro average. {best}{note}".strip())
