"""Intervals and tests, taken from scipy and statsmodels: what chance may have done to a number, and to a difference."""


def wilson(correct: float, n: float) -> tuple[float, float]:
    """The 95 % Wilson score interval of ``correct`` out of ``n``, in percent: what pass@1 may be on questions like these.

    ``correct`` need not be whole: of several attempts at each question, it is a sum of shares (``Cell.draws``).
    """
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(correct, n, alpha=0.05, method="wilson")
    return 100 * float(low), 100 * float(high)
