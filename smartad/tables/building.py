"""From cells to a table: seeds to mean and deviation, averages, ranks."""

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from smartad.tables.data import AVERAGE, MICRO, STOPPED, Entry, RunCells, Table
from smartad.types import Cell


def build(title: str, groups: Mapping[str, Sequence[str]], rows: Mapping[str, Sequence[RunCells]],
          sizes: Mapping[str, str] | None = None) -> Table:
    """The table of ``rows``: label -> its runs.  Equal runs (one source for several seeds) count once.

    ``sizes``: label -> the size of its model; rows of one size are put together, and ranked among themselves.
    """
    groups = {name: list(benchmarks) for name, benchmarks in groups.items() if benchmarks}
    benchmarks = [name for names in groups.values() for name in names]
    sizes = {label: (sizes or {}).get(label, "") for label in rows}
    order = list(dict.fromkeys(sizes.values()))
    labels = sorted(rows, key=lambda label: order.index(sizes[label]))
    entries = {label: {**{name: _entry(rows[label], name) for name in benchmarks},
                       AVERAGE: _average(rows[label], benchmarks, _macro), MICRO: _average(rows[label], benchmarks, _micro)}
               for label in labels}
    for size in order:
        block = [entries[label] for label in labels if sizes[label] == size]
        for column in [*benchmarks, AVERAGE, MICRO]:
            _rank(block, column)
    graders = {name: sorted({run.cells[name].grader for runs in rows.values() for run in runs if name in run.cells} - {""})
               for name in benchmarks}
    table = Table(title, groups, entries, graders, sizes=sizes, micro=len(benchmarks) > 1)
    return dataclasses.replace(table, heads=("Student", "Method"), heads_of={label: (sizes[label], label) for label in labels}) \
        if len(order) > 1 else table


def _rank(block: Sequence[dict[str, Entry]], column: str) -> None:
    """Mark the best and the second of a column.  What is equal as printed is equal; of too few seeds, it is not compared; and no
    place is given that ungraded attempts, whatever they come to, could change."""
    if len(block) < 2:
        return
    rivals = [row for row in block if row[column].percent is not None and not row[column].part]
    shown = [_shown(row[column].percent or 0.0) for row in rivals]
    reaches = [(_shown(row[column].reach[0]), _shown(row[column].reach[1])) for row in rivals]
    for place, top in enumerate(sorted(set(shown), reverse=True)[:2]):
        for at, row in enumerate(rivals):
            if shown[at] == top and _stands(place, reaches[at], [*reaches[:at], *reaches[at + 1:]]):
                row[column] = dataclasses.replace(row[column], rank="second" if place else "best")


def _stands(place: int, reach: tuple[float, float], others: Sequence[tuple[float, float]]) -> bool:
    """Whether so many numbers are above it for certain, and no more may be."""
    return len({low for low, _ in others if low > reach[1]}) == len({high for _, high in others if high > reach[0]}) == place


def _shown(percent: float) -> float:
    return float(f"{percent:.1f}")


def _entry(runs: Sequence[RunCells], benchmark: str) -> Entry:
    cells = list({c.source: c for run in runs if (c := run.cells.get(benchmark))}.values())
    scores = [cell.percent for cell in cells if cell.percent is not None]
    ungraded = sum(c.ungraded for c in cells)
    have = sum(benchmark in run.cells for run in runs)
    note = _note(run for run in runs if benchmark not in run.cells)
    if len(scores) < len(cells) or not scores or (have < len(runs) and note == STOPPED):
        return Entry(None, None, "", ungraded, len(scores), note or ("ungraded" if len(scores) < len(cells) else ""),
                     source=tuple(c.source for c in cells))
    counts = [str(c.n) if c.questions is None else f"{c.n} of {c.questions} questions" for c in cells]
    return Entry(statistics.fmean(scores), _sd(scores), _ns(counts), ungraded, len(scores), note, part=_part(have, runs),
                 draws=_draws([c.draws for c in cells]), reach=_reach([[c] for c in cells], _macro),
                 source=tuple(c.source for c in cells))


def _average(runs: Sequence[RunCells], benchmarks: Sequence[str], mean: Callable[[Sequence[Cell]], float]) -> Entry:
    """An average over benchmarks; a run with a hole has none."""
    finished = [run for run in runs if run.cells and not run.note]
    whole = [run for run in finished if all(name in run.cells and run.cells[name].n for name in benchmarks)]
    note = _note(runs)
    if not whole or len(whole) < len(finished) or note == STOPPED:
        return Entry(None, None, "", 0, 0, note)
    complete = list({tuple(c.source for c in found): found for run in whole
                     for found in [[run.cells[name] for name in benchmarks]]}.values())
    scores = [mean(cells) for cells in complete]
    asked = [sum(c.draws[1] for c in cells) for cells in complete]
    draws = [(score * n / 100, n) for score, n in zip(scores, asked, strict=True)]
    return Entry(statistics.fmean(scores), _sd(scores), _ns([str(sum(c.n for c in cells)) for cells in complete]),
                 sum(c.ungraded for cells in complete for c in cells), len(scores), note, part=_part(len(whole), runs),
                 draws=_draws(draws) if mean is _micro else None, reach=_reach(complete, mean),
                 shares=tuple(_draws([c.draws for c in of_seeds]) for of_seeds in zip(*complete, strict=True))
                 if mean is _macro else ())


def _reach(of_seeds: Sequence[Sequence[Cell]], mean: Callable[[Sequence[Cell]], float]) -> tuple[float, float]:
    """The mean over seeds if all that is ungraded were wrong, and if it were right."""
    wrong, right = (statistics.fmean(mean([_decided(c, share) for c in cells]) for cells in of_seeds) for share in (0, 1))
    return wrong, right


def _decided(cell: Cell, share: int) -> Cell:
    """With its ungraded attempts wrong (0) or right (1).  Of several samples, each question has as many."""
    if not cell.ungraded:
        return cell
    correct, n = cell.correct + share * cell.ungraded, cell.n + cell.ungraded
    return dataclasses.replace(cell, correct=correct, n=n, ungraded=0, mean=100 * correct / n)


def _macro(cells: Sequence[Cell]) -> float:
    return statistics.fmean(cell.percent or 0.0 for cell in cells)


def _micro(cells: Sequence[Cell]) -> float:
    return 100 * sum(cell.draws[0] for cell in cells) / sum(cell.draws[1] for cell in cells)


def _note(runs: Iterable[RunCells]) -> str:
    return next((run.note for run in runs if run.note), "")


def _part(have: int, runs: Sequence[RunCells]) -> tuple[int, int] | None:
    return None if have == len(runs) else (have, len(runs))


def _draws(of_seeds: Sequence[tuple[float, int]]) -> tuple[float, int]:
    """Of seeds that answered the same questions: the mean share of as many as each of them has."""
    n = min(n for _, n in of_seeds)
    return n * statistics.fmean(correct / n for correct, n in of_seeds), n


def _sd(scores: Sequence[float]) -> float | None:
    return statistics.stdev(scores) if len(scores) > 1 else None


def _ns(counts: Sequence[str]) -> str:
    return "/".join(dict.fromkeys(counts))
