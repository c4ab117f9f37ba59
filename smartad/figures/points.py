"""Numbers with what chance may have done to them, as they are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

from smartad.stats import wilson


@dataclass(frozen=True)
class Point:
    """One number with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    """What it is counted over."""


def share(right: float, n: int) -> Point | None:
    """``right`` out of ``n`` in percent, with Wilson's interval; None of nothing."""
    if not n:
        return None
    value, (low, high) = 100 * right / n, wilson(right, n)
    return Point(value, min(low, value), max(high, value), n)  # of all and of none, an end may miss it by a rounding


def mean(values: Sequence[float]) -> Point | None:
    """The mean with Student's interval, which is the mean itself when all are equal and where there is one; None of nothing."""
    import numpy as np
    from scipy import stats

    if not values:
        return None
    value = float(np.mean(values))
    if len(values) == 1:
        return Point(value, value, value, 1)
    error = float(stats.sem(values))
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return Point(value, value - reach, value + reach, len(values))
