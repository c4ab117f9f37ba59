"""Intervals and tests, taken from scipy and statsmodels: what chance may have done to a number, and to a difference."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from statistics import fmean

Share = tuple[float, float]
"""(right, out of)."""
ALPHA, POWER = 0.05, 0.8
DRAWS = 10_000
"""Of a bootstrap."""
SAME = 0.05
"""Points: what differs by less is the same as printed."""
MANY = 1_000
"""Seeds that nobody trains."""


def wilson(correct: float, n: float) -> tuple[float, float]:
    """The 95 % Wilson score interval of ``correct`` out of ``n``, in percent: what pass@1 may be on questions like these.

    ``correct`` need not be whole: of several attempts at each question, it is a sum of shares (``Cell.draws``).
    """
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(correct, n, alpha=0.05, method="wilson")
    return 100 * float(low), 100 * float(high)


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided p of McNemar's test: of the questions on which two runs differ, so many only A has right and so many
    only B.  It is about these two runs."""
    from statsmodels.stats.contingency_tables import mcnemar as test

    return float(test([[0, only_a], [only_b, 0]], exact=True).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """``p`` adjusted for there being several of them, in their order (Holm 1979)."""
    from statsmodels.stats.multitest import multipletests

    return [float(one) for one in multipletests(p, method="holm")[1]] if len(p) else []


def macro(shares: Sequence[Share]) -> tuple[float, float]:
    """The 95 % interval of the mean of independent shares, in percent; of a single one, its Wilson interval.

    The distances to the Wilson bounds are added as variances are ("MOVER": Zou and Donner, Statistics in Medicine 27, 2008).
    """
    mean = _mean(shares)
    low, high = _reach(shares)
    return mean - low, mean + high


def macro_difference(ours: Sequence[Share], theirs: Sequence[Share]) -> tuple[float, float]:
    """The 95 % interval of the mean of ``ours`` minus that of ``theirs``, in points; all are independent of each other.

    Of one share each, it is Newcombe's hybrid score interval (method 10, Statistics in Medicine 17, 1998).
    """
    difference = _mean(ours) - _mean(theirs)
    (low, high), (their_low, their_high) = _reach(ours), _reach(theirs)
    return difference - hypot(low, their_high), difference + hypot(high, their_low)


@dataclass(frozen=True)
class Difference:
    """A minus B, in points."""

    points: float
    low: float
    """Of the 95 % interval."""
    high: float
    p: float
    """Two-sided."""
    seeds: int | None
    """How many seeds of each arm tell a difference of this size apart, on these questions (power 80 %, alpha 5 %); more than
    MANY are MANY + 1.  None: not known, as an arm has but one, or no number does, as of no difference (SAME)."""
    questions: float | None
    """How many times as many questions tell it apart: with the seeds that there are, or, where these questions are too few
    for any number of seeds, with very many.  None: no number does."""
    lone: bool
    """Whether low, high and p are about these very runs, since an arm has no second seed."""


def _mean(shares: Sequence[Share]) -> float:
    return 100 * fmean(correct / n for correct, n in shares)


def _reach(shares: Sequence[Share]) -> tuple[float, float]:
    """How far the mean may be below and above, in points."""
    bounds = [(100 * correct / n, *wilson(correct, n)) for correct, n in shares]
    return (hypot(*(percent - low for percent, low, _ in bounds)) / len(bounds),
            hypot(*(high - percent for percent, _, high in bounds)) / len(bounds))
