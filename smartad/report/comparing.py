"""The comparison section: every row against the baseline, with intervals, and in words what may be chance."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from smartad.analysis import compare
from smartad.analysis.compare import Comparison
from smartad.stats import Difference
from smartad.store import Store
from smartad.sweep.ledger import Ledger, LedgerTrial
from smartad.tables import AVERAGE

ROWS = 100
"""That are compared: more cannot be looked at, and Holm's correction for a thousand leaves nothing."""
LINES = 200
"""Of the table; where benchmarks would make it longer, only averages are in it."""
ALPHA = 0.05
WIDTH, EDGE = 200.0, 6.0
"""Of a line's picture, and what is left free on both sides."""


def section(store: Store, book: Ledger, baseline: LedgerTrial | None, averages: Mapping[str, float | None]) -> dict[str, Any]:
    """What the page needs.  ``averages``: row -> its average, None while it has none."""
    if baseline is None:
        return {"why": "This sweep has no row to hold the others against."}
    if averages.get(baseline.label) is None:
        return {"why": f"{baseline.label}, the baseline, is not finished: nothing can be held against it yet."}
    others = [trial for trial in book.trials if trial is not baseline and averages.get(trial.label) is not None]
    if not others:
        return {"why": f"No row but {baseline.label}, the baseline, is finished yet."}
    best = sorted(others, key=lambda trial: -(averages[trial.label] or 0.0))[:ROWS]
    kept = tuple(trial for trial in book.trials if trial is baseline or trial in best)
    found = compare.against(store, dataclasses.replace(book, trials=kept), baseline)
    return told(baseline.label, found, len(others))


def told(baseline: str, found: Sequence[Comparison], others: int) -> dict[str, Any]:
    """The same, of comparisons that are there.  ``others``: finished rows, compared or not."""
    several = sum(1 + len(one.lines) for one in found) <= LINES
    drawn = [d for one in found for d in [one.macro, *(line.difference for line in one.lines if several)] if d is not None]
    reach = max([1.0, *(abs(edge) for d in drawn for edge in (d.low, d.high, d.points))])
    lines = []
    for one in found:
        if one.macro is None:
            lines.append(_line(one, AVERAGE, None, None, reach, one.refused or "nothing to compare"))
            continue
        lines.append(_line(one, AVERAGE, one.macro, one.holm, reach))
        if several:
            lines += [_line(one, line.benchmark, line.difference, line.holm, reach) for line in one.lines]
            lines += [_line(one, name, None, None, reach, why) for name, why in one.missing.items()]
    notes = ["Differences are in points of pass@1 on the same questions, the row minus the baseline, with bootstrap intervals; p is "
             "corrected after Holm, over the averages and over all benchmarks apart."]
    if any(d.lone for d in drawn):
        notes.append("Where a row has one seed only, its interval is about that very run and says nothing of another seed.")
    if others > len(found):
        notes.append(f"Compared are the {len(found)} rows with the best averages, of {others}.")
    return {"why": "", "sentence": _sentence(baseline, found), "lines": lines, "notes": notes, "zero": _at(0.0, reach),
            "left": f"−{reach:.0f}", "right": f"+{reach:.0f}"}


def _sentence(baseline: str, found: Sequence[Comparison]) -> str:
    """What may be chance, and what not."""
    sure = [f"{one.a.trial.label} ({one.macro.points:+.1f})" for one in found if one.macro and one.holm < ALPHA]
    compared = sum(one.macro is not None for one in found)
    over = f"after Holm's correction for {compared} comparisons" if compared > 1 else "at 5 %"
    if not sure:
        return f"No row's average differs from that of {baseline} by more than chance may do ({over})."
    rest = compared - len(sure)
    return (f"More than chance away from {baseline} on average ({over}): {', '.join(sure)}."
            + (f" The difference of the other {rest} may be chance." if rest > 1 else
               " That of the one other may be chance." if rest else ""))


def _line(one: Comparison, column: str, difference: Difference | None, p: float | None, reach: float, why: str = "") -> dict[str, Any]:
    said = {"row": one.a.trial.label if column == AVERAGE else "", "column": column, "kind": "", "at": None, "difference": "",
            "interval": "", "p": "", "words": why}
    if difference is None or p is None:
        return said
    sure = p < ALPHA
    kind = ("better" if difference.points > 0 else "worse") if sure else ""
    return {**said, "kind": kind, "difference": f"{difference.points:+.1f}", "p": "< 0.001" if p < 0.001 else f"{p:.3f}",
            "interval": f"{difference.low:+.1f} to {difference.high:+.1f}", "words": kind or _chance(difference),
            "at": [_at(value, reach) for value in (difference.low, difference.points, difference.high)]}


def _chance(difference: Difference) -> str:
    if difference.points == 0:
        return "no difference"
    return "may be chance" + (f"; {difference.seeds} seeds of each would tell" if difference.seeds else "")


def _at(value: float, reach: float) -> float:
    """Where on the picture's line, in its units."""
    return round(WIDTH / 2 + (WIDTH / 2 - EDGE) * value / reach, 1)
