"""What a paper prints beside our number: the words for how far they are apart, and the intervals behind them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartad.stats import macro, macro_difference, wilson
from smartad.tables.printed import APART, INSIDE, OUTSIDE, Printed, beside, verdict

pytestmark = pytest.mark.slow
shares = st.integers(1, 600).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def percent(share):
    return 100 * share[0] / share[1]


@settings(deadline=None)
@given(shares, shares)
def test_difference_of_two_shares_is_newcombes(ours, theirs):
    """Against statsmodels', which is written otherwise."""
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, high = confint_proportions_2indep(*ours, *theirs, compare="diff", method="newcomb")
    assert macro_difference([ours], [theirs]) == (pytest.approx(100 * low, abs=1e-9), pytest.approx(100 * high, abs=1e-9))
    assert macro([ours]) == pytest.approx(wilson(*ours))


def test_difference_of_two_shares_is_that_of_the_textbook():
    """Newcombe (1998), Table II, method 10: 56 of 70 and 48 of 80; 0 of 10 and 0 of 20."""
    assert macro_difference([(56, 70)], [(48, 80)]) == (pytest.approx(5.24, abs=0.005), pytest.approx(33.39, abs=0.005))
    assert macro_difference([(0, 10)], [(0, 20)]) == (pytest.approx(-16.11, abs=0.005), pytest.approx(27.75, abs=0.005))


@settings(deadline=None)
@given(st.lists(shares, min_size=1, max_size=9))
def test_interval_of_a_mean_holds_it_and_is_no_wider_than_the_mean_of_the_intervals(found):
    low, high = macro(found)
    bounds = [wilson(*share) for share in found]
    mean = sum(map(percent, found)) / len(found)
    assert low - 1e-9 <= mean <= high + 1e-9
    assert low >= sum(b[0] for b in bounds) / len(found) - 1e-9 and high <= sum(b[1] for b in bounds) / len(found) + 1e-9


def test_interval_of_a_mean_of_many_questions_is_that_of_its_variance():
    found = [(300, 600), (120, 400), (90, 900)]
    deviation = 100 * math.sqrt(sum(r / n * (1 - r / n) / n for r, n in found)) / 3
    low, high = macro(found)
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.01)


def test_interval_of_an_average_covers_the_truth_in_95_of_100_draws():
    """Benchmarks as large and as hard as SmartAD's nine."""
    n = np.array([500, 500, 500, 125, 500, 90, 40, 385, 200])
    truth = np.array([0.5, 0.5, 0.15, 0.45, 0.4, 0.05, 0.3, 0.4, 0.04])
    draws = np.random.default_rng(0).binomial(n, truth, size=(1000, 9))
    held = [low <= 100 * truth.mean() <= high for low, high in (macro(list(zip(row, n, strict=True))) for row in draws)]
    assert 0.93 <= np.mean(held) <= 0.97


@settings(deadline=None)
@given(st.lists(st.tuples(shares, shares), min_size=1, max_size=4))
def test_what_is_apart_lies_outside_and_what_is_the_same_inside(pairs):
    ours, theirs = zip(*pairs, strict=True)
    mean = sum(map(percent, theirs)) / len(theirs)
    word = verdict(ours, Printed(repr(mean), theirs))
    low, high = macro(ours)
    assert (word == INSIDE) == (low <= mean <= high)
    assert verdict(theirs, Printed(repr(mean), theirs)) == INSIDE or not macro(theirs)[0] <= mean <= macro(theirs)[1]
    low, high = macro_difference(ours, theirs)
    assert word != APART or low > 0 or high < 0
    assert word in (APART, INSIDE) or low <= 0 <= high


@pytest.mark.parametrize(("right", "word"), [
    (250, INSIDE), (229, INSIDE), (228, OUTSIDE), (220, OUTSIDE), (219, APART), (281, APART)])
def test_words_change_where_the_intervals_end(right, word):
    assert verdict([(right, 500)], Printed("50.0", ((250, 500),))) == word


def test_line_of_a_printed_number_has_what_is_known():
    printed = Printed("38.70", ((149, 385),))
    assert beside(40.0, [(154, 385)], printed) == "paper 38.70, +1.3, inside"
    assert beside(38.68, [(149, 385)], printed) == "paper 38.70, +0.0, inside"
    assert beside(None, [None], printed) == "paper 38.70"
    assert beside(40.0, [None], printed) == "paper 38.70, +1.3", "an average of which a benchmark has no interval"
    assert beside(40.0, [(154, 385)], Printed("38.70")) == "paper 38.70, +1.3", "nothing is known of its questions"
