"""The comparison section: every row against the baseline, with intervals, and in words what may be chance."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from smartad.analysis import compare, telling
from smartad.analysis.compare import Comparison
from smartad.stats import ALPHA, SAME, Difference
from smartad.store import Store
from smartad.sweep.ledger import Ledger, LedgerTrial
from smartad.tables import AVERAGE

ROWS = 100
"""That are compared: more cannot be looked at, and Holm's correction for a thousand leaves nothing."""
LINES = 200
"""Of the table; where benchmarks would make it longer, only averages are in it."""
WIDTH, EDGE = 200.0, 6.0
"""Of a line's picture, and what is left free on both sides."""


def section(store: Store, book: Ledger, baseline: LedgerTrial | None, averages: Mapping[str, float | None]) -> dict[str, Any]:
    """What the page needs.  ``averages``: row -> its average, None while it has none."""
    if baseline is None or len(book.trials) < 2:
        return {"why": "This sweep has one row, and nothing to hold it against."}
    others = [trial for trial in book.trials if trial is not baseline]
    best = sorted(others, key=lambda trial: -(averages.get(trial.label) or -1.0))[:ROWS]
    kept = tuple(trial for trial in book.trials if trial is baseline or trial in best)
    return told(baseline.label, compare.against(store, dataclasses.replace(book, trials=kept), baseline), len(others))


def told(baseline: str, found: list[Comparison], others: int) -> dict[str, Any]:
    """The same, of comparisons that are there.  ``others``: rows, compared or not."""
    if not any(one.lines for one in found):
        return {"why": f"Nothing can be held against {baseline} yet: {'; '.join(dict.fromkeys(one.refused for one in found))}."}
    several = sum(1 + len(one.lines) + len(one.missing) for one in found) <= LINES
    drawn = [d for one in found for d in [one.macro, *(line.difference for line in one.lines if several)] if d is not None]
    reach = max([1.0, *(abs(edge) for d in drawn for edge in (d.low, d.high, d.points))])
    lines = []
    for one in found:
        why = one.refused or "; ".join(dict.fromkeys(one.missing.values()))
        lines.append(_line(one, AVERAGE, one.macro, one.holm, reach, why))
        if several:
            lines += [_line(one, line.benchmark, line.difference, line.holm, reach) for line in one.lines]
            lines += [_line(one, name, None, None, reach, why) for name, why in one.missing.items() if one.lines]
    first, *more = telling.of_table(found, baseline)
    notes = [*more, "Differences are the row minus the baseline, in points of pass@1 on the same questions, with 95 % bootstrap "
                    "intervals over questions and seeds; p is after Holm, for the averages and for all benchmarks apart."]
    if others > len(found):
        notes.append(f"Compared are the {len(found)} rows with the best averages, of {others}; Holm's correction is for these "
                     "alone, and the best of many look better than they are.")
    return {"why": "", "sentence": first, "lines": lines, "notes": notes, "zero": _at(0.0, reach),
            "left": f"−{reach:.0f}", "right": f"+{reach:.0f}"}


def _line(one: Comparison, column: str, difference: Difference | None, p: float | None, reach: float,
          why: str = "") -> dict[str, Any]:
    said = {"row": one.a.trial.label if column == AVERAGE else "", "column": column, "kind": "", "at": None, "difference": "",
            "interval": "", "p": "", "words": why}
    if difference is None or p is None:
        return said
    sure = p < ALPHA
    kind = ("better" if difference.points > 0 else "worse") if sure else ""
    return {**said, "kind": kind, "difference": telling.points(difference.points), "p": telling.p_text(p),
            "interval": telling.interval(difference), "words": kind or _chance(one, difference),
            "at": [_at(value, reach) for value in (difference.low, difference.points, difference.high)]}


def _chance(one: Comparison, difference: Difference) -> str:
    if abs(difference.points) < SAME:
        return "no difference"
    if difference.p < ALPHA:
        return "may be chance, as there are several comparisons"
    if difference.seeds is None or difference.seeds <= max(len(one.seeds_a), len(one.seeds_b)):
        return "may be chance"
    return f"may be chance; {telling.seeds_text(difference.seeds)} seeds of each would tell"


def _at(value: float, reach: float) -> float:
    """Where on the picture's line, in its units."""
    return round(WIDTH / 2 + (WIDTH / 2 - EDGE) * value / reach, 1)
