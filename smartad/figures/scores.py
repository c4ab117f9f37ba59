"""Pictures of a sweep's results."""

import os
from collections.abc import Iterable
from pathlib import Path

from smartad.stats import wilson
from smartad.tables import RunCells

ROWS = 40
"""The rows with the best averages are drawn; more cannot be told apart."""


def pooled(runs: Iterable[RunCells], benchmark: str) -> tuple[float, int]:
    """(right, out of) over a row's seeds, as ``Cell.draws``; a cell that several seeds share counts once."""
    cells = {c.source: c for run in runs if (c := run.cells.get(benchmark))}.values()
    return sum(c.draws[0] for c in cells), sum(c.draws[1] for c in cells)


def draw_scores(path: Path, rows: dict[str, list[RunCells]], benchmarks: list[str]) -> None:
    """A panel per benchmark: pass@1 of every row with its interval.  Rows without a finished cell have no dot."""
    import matplotlib

    matplotlib.use("agg")  # there may be no display, and none is needed
    import matplotlib.pyplot as plt

    def average(label: str) -> float:
        shares = [100 * correct / n for b in benchmarks for correct, n in [pooled(rows[label], b)] if n]
        return sum(shares) / len(shares) if shares else -1.0

    labels = sorted(rows, key=average)[-ROWS:]
    figure, axes = plt.subplots(1, len(benchmarks), sharey=True, squeeze=False, layout="constrained",
                                figsize=(2.5 + 3 * len(benchmarks), 1.2 + 0.3 * len(labels)))
    for axis, benchmark in zip(axes[0], benchmarks, strict=True):
        for height, label in enumerate(labels):
            correct, n = pooled(rows[label], benchmark)
            if n:
                low, high = wilson(correct, n)
                axis.plot([low, high], [height, height], color="0.7", linewidth=2, zorder=1)
                axis.plot(100 * correct / n, height, "o", color="#2a62c9", zorder=2)
        axis.set(title=benchmark, xlabel="pass@1", xlim=(0, 100), yticks=range(len(labels)), yticklabels=labels)
        axis.grid(axis="x", color="0.93")
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    figure.savefig(temporary, dpi=120)
    plt.close(figure)
    os.replace(temporary, path)
