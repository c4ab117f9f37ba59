"""Intervals and tests: against printed numbers, references written differently, and worlds whose truth is known."""

import random
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import norm

from smartad.paired import Paired, differences
from smartad.stats import MANY, holm, mcnemar

pytestmark = pytest.mark.slow

counts = st.integers(0, 60)
FEW = settings(max_examples=30, deadline=None)
p_values = st.lists(st.floats(0, 1), max_size=12)


def test_mcnemar_is_as_printed():
    """Fagerland, Lydersen & Laake (2013), Table 1 (Bentur et al.): 1 and 7 discordant pairs, exact p 0.070.  Their formula (1),
    2 B(6; 22, 1/2), for 6 and 16."""
    assert mcnemar(1, 7) == pytest.approx(0.0703125)
    assert mcnemar(6, 16) == pytest.approx(0.0525, abs=0.00005)


@FEW
@given(counts, counts)
def test_mcnemar_is_the_sum_of_the_binomials_that_are_no_likelier(only_a, only_b):
    n = only_a + only_b
    exact = sum((Fraction(comb(n, k), 2**n) for k in range(n + 1) if abs(2 * k - n) >= abs(only_a - only_b)), Fraction())
    assert mcnemar(only_a, only_b) == pytest.approx(float(exact))
    assert mcnemar(only_a, only_b) == mcnemar(only_b, only_a)


def test_holm_is_as_in_the_worked_example():
    """Four hypotheses at 0.01, 0.04, 0.03 and 0.005, of which the first and the last are rejected at 0.05: the example of most
    courses on Holm (1979); R's p.adjust says the same."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@settings(max_examples=10, deadline=None)  # statsmodels collects garbage at every call
@given(p_values)
def test_holm_is_what_its_definition_says(p):
    """The smallest level at which the step-down procedure rejects: the p before it are rejected, too."""
    adjusted = holm(p)
    for one, value in zip(p, adjusted, strict=True):
        before = [min(1.0, sum(other >= smaller for other in p) * smaller) for smaller in p if smaller <= one]
        assert value == pytest.approx(max(before))


def runs(rows):
    return np.array(rows, dtype=float)


def drawn(count, n, k, seed=0, share=0.5):
    return [(np.random.default_rng([seed, at]).random((k, n)) < share).astype(float) for at in range(count)]


def test_macro_average_weighs_benchmarks_alike_however_many_questions_they_have():
    pair = Paired([runs([[1, 1]]), runs([[0] * 50])], [runs([[0, 0]]), runs([[1] * 49 + [0]])])
    macro, parts = differences([pair], draws=100)[0]
    assert [part.points for part in parts] == [100.0, -98.0] and macro.points == pytest.approx(1.0)


def test_interval_of_one_run_each_is_that_of_a_plain_loop():
    """10,000 draws in Python: questions of both arms together, and two besides of which each arm has one right, which pull the
    draws to zero, and by so much they are moved back."""
    a, b = drawn(2, 30, 1, seed=1, share=0.7), drawn(2, 30, 1, seed=2)
    macro, _ = differences([Paired(a, b)])[0]
    chance, sums = random.Random(0), []
    for _ in range(10_000):
        means = []
        for one, other in zip(a, b, strict=True):
            questions = [*zip(one[0], other[0], strict=True), (1, 0), (0, 1)]
            pulled = float(one.mean() - other.mean()) * (1 - 30 / 32)
            means.append(sum(x - y for x, y in chance.choices(questions, k=len(questions))) / len(questions) + pulled)
        sums.append(sum(means) / len(means))
    sums.sort()
    assert (macro.low, macro.high) == (pytest.approx(100 * sums[250], abs=0.8), pytest.approx(100 * sums[-251], abs=0.8))
    assert macro.p == pytest.approx(2 * sum(value <= 0 for value in sums) / len(sums), abs=0.02)


def test_interval_of_runs_that_agree_on_most_questions_is_narrower_than_of_runs_that_do_not():
    a = runs([[1, 0] * 40])
    paired, = differences([Paired([a], [np.where(np.arange(80) < 4, 1 - a, a)])], draws=1000)
    crossed, = differences([Paired([a], [a[:, ::-1]])], draws=1000)
    assert paired[0].high - paired[0].low < (crossed[0].high - crossed[0].low) / 3


def test_questions_that_all_agree_on_leave_doubt():
    macro, _ = differences([Paired([runs([[1] * 50])], [runs([[1] * 50])])])[0]
    assert (macro.points, macro.p) == (0.0, 1.0) and macro.low < -1 and macro.high > 1


def test_p_of_a_clear_difference_is_small_and_never_less_than_by_coins():
    clear, hidden = (macro for macro, _ in differences([Paired([runs([a])], [runs([b])]) for a, b in (
        ([1] * 40, [0] * 40), ([1, 0] * 20, [0, 1] * 20))]))
    assert 2**-39 <= clear.p < 1e-6 and hidden.p > 0.9
    assert clear.low > 80 and clear.high == 100


def test_question_without_a_verdict_in_any_run_is_left_out_of_all():
    a, b = drawn(1, 40, 2, seed=1)[0], drawn(1, 40, 2, seed=2)[0]
    holes = a.copy()
    holes[0, 3], holes[1, 7] = np.nan, np.nan
    kept = [i for i in range(40) if i not in (3, 7)]
    whole, parts = differences([Paired([holes], [b])])[0]
    assert whole.points == pytest.approx(100 * (a[:, kept].mean() - b[:, kept].mean())) == pytest.approx(parts[0].points)
    without, _ = differences([Paired([a[:, kept]], [b[:, kept]])])[0]
    assert (whole.low, whole.high) == (pytest.approx(without.low, abs=1.5), pytest.approx(without.high, abs=1.5))


def test_benchmark_with_one_question_is_no_part_of_the_average():
    lone = runs([[1] + [np.nan] * 9])
    macro, parts = differences([Paired([lone, runs([[1, 0, 1, 1]])], [lone, runs([[0, 0, 1, 1]])])])[0]
    assert np.isnan(parts[0].points) and macro.points == parts[1].points == 25.0


def test_comparison_is_the_same_alone_and_among_others():
    pairs = [Paired(drawn(2, 20, 2, seed=i), drawn(2, 20, 2, seed=1000 + i)) for i in range(130)]
    together = differences(pairs, draws=200)
    assert [together[i] for i in (0, 99, 100, 129)] == [differences([pairs[i]], draws=200)[0] for i in (0, 99, 100, 129)]


def test_seeds_that_differ_widen_the_interval_and_equal_ones_do_not():
    a, b = drawn(1, 100, 1, seed=1)[0], drawn(1, 100, 1, seed=2)[0]
    one = differences([Paired([a], [b])])[0][0]
    same = differences([Paired([np.repeat(a, 3, axis=0)], [np.repeat(b, 3, axis=0)])])[0][0]
    assert (same.low, same.high) == (one.low, one.high)
    apart = np.concatenate([a, np.ones_like(a), np.zeros_like(a)])
    assert (spread := differences([Paired([apart], [b])])[0][0]).high - spread.low > 3 * (one.high - one.low)


def test_questions_needed_are_those_of_the_paired_formula():
    """Miller (2024): n = (z_0.975 + z_0.8)^2 Var(A - B) / d^2."""
    a, b = drawn(1, 200, 1, seed=1, share=0.55)[0], drawn(1, 200, 1, seed=2)[0]
    macro, _ = differences([Paired([a], [b], lone=True)], draws=100)[0]
    needed = (norm.ppf(0.975) + norm.ppf(0.8))**2 * np.var(a - b, ddof=1) / np.mean(a - b)**2
    assert macro.seeds is None and macro.questions * 200 == pytest.approx(needed)


def test_no_number_of_seeds_is_enough_where_the_questions_hide_the_difference():
    base = drawn(1, 60, 1, seed=3)[0]
    other = base[:, ::-1].copy()
    other[0, 0] = 1 - other[0, 0]
    macro, _ = differences([Paired([np.repeat(base, 4, axis=0)], [np.repeat(other, 4, axis=0)])], draws=100)[0]
    assert macro.seeds is None and macro.questions > 5


@pytest.mark.parametrize("right", [[(10, 10), (10, 10)], [(16, 12), (4, 8)]])
def test_arms_that_are_equally_good_need_no_number_of_seeds_or_questions(right):
    """(16 + 4) / 20 and (12 + 8) / 20 differ by 3e-17 in floating point."""
    a, b = ([runs([[1] * count + [0] * (20 - count)]) for count in counts] for counts in zip(*right, strict=True))
    macro, _ = differences([Paired(a, b)], draws=100)[0]
    assert (macro.points, macro.seeds, macro.questions) == (0.0, None, None)


def test_seeds_that_nobody_trains_are_more_than_there_are():
    """Seeds differ by 20 points and arms by 0.2, on questions that leave no doubt."""
    steps = np.repeat([[0.4], [0.6]], 30, axis=1)
    macro, _ = differences([Paired([steps + 0.002], [steps])], draws=100)[0]
    assert macro.seeds == MANY + 1


@FEW
@given(st.lists(st.tuples(st.integers(2, 40), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12), st.integers(0, 1000))
def test_estimate_lies_in_its_interval(benchmarks, seed):
    rng = np.random.default_rng(seed)
    pair = Paired(*([(rng.random((1, one[0])) < one[side]).astype(float) for one in benchmarks] for side in (1, 2)))
    clear = Paired([runs([[1] * n]) for n, _, _ in benchmarks], [runs([[0] * n]) for n, _, _ in benchmarks])
    for macro, parts in differences([pair, clear], draws=400):
        assert all(one.low <= one.points <= one.high for one in (macro, *parts))


def world(rng, benchmarks, n, k, delta, luck):
    """Two arms of ``k`` seeds; the truth is that A is better by ``delta`` (a share).  Questions are easy and hard for both, each
    arm has its own way with a question, each seed its luck (standard deviation) everywhere and half as much at each benchmark.
    Where the arms are far apart, questions are more alike, so that none is right, or wrong, for certain."""
    arms, reach = [], 0.2 * (1 - delta)
    lucks = rng.normal(0, luck, (2, k, 1))
    for _ in range(benchmarks):
        chance, hard = rng.uniform(0.5 - reach, 0.5 + reach, n), rng.normal(size=n)
        both = []
        for side, better in enumerate((delta / 2, -delta / 2)):
            way = np.sqrt(0.5) * hard + 0.5 * rng.normal(size=n) + 0.5 * rng.normal(size=(k, n))
            right = ndtr(way) < chance + better + lucks[side] + rng.normal(0, luck / 2, (k, 1))
            both.append(right.astype(float))
        arms.append(both)
    return Paired([a for a, _ in arms], [b for _, b in arms])


def coverage(worlds, delta, draws=400):
    return np.mean([macro.low <= 100 * delta <= macro.high for macro, _ in differences(worlds, draws=draws)])


@pytest.mark.slow
@pytest.mark.parametrize(("benchmarks", "n", "k", "delta", "luck", "worlds"), [
    (3, 80, 1, 0.03, 0.0, 2000), (3, 80, 3, 0.03, 0.04, 2000), (9, 40, 1, 0.6, 0.0, 800)])
def test_interval_holds_a_known_difference_95_times_in_100(benchmarks, n, k, delta, luck, worlds):
    rng = np.random.default_rng(7)
    found = coverage([world(rng, benchmarks, n, k, delta, luck) for _ in range(worlds)], delta)
    assert 0.93 <= found <= 0.97


def test_p_is_small_where_the_interval_leaves_zero_out():
    rng = np.random.default_rng(10)
    found = [macro for macro, _ in differences([world(rng, 2, 40, 2, rng.uniform(0, 0.2), 0.01) for _ in range(150)], draws=1000)]
    clear = [macro for macro in found if abs(macro.p - 0.05) > 0.02]
    assert all((macro.p < 0.05) == (macro.low > 0 or macro.high < 0) for macro in clear)
    assert 20 < sum(macro.p < 0.05 for macro in clear) < len(clear) - 20


@pytest.mark.slow
def test_interval_of_one_seed_does_not_hold_the_luck_of_training():
    """What the command says of it."""
    rng = np.random.default_rng(8)
    assert coverage([world(rng, 4, 100, 1, 0.03, 0.03) for _ in range(500)], 0.03) < 0.8


@pytest.mark.slow
def test_so_many_seeds_find_a_difference_four_times_in_five():
    """Forecast from pilots of ten seeds, then made good by as many seeds as their median says, on new questions."""
    rng, delta, n = np.random.default_rng(9), 0.06, 150
    said = [macro.seeds for macro, _ in differences([world(rng, 4, n, 10, delta, 0.04) for _ in range(60)], draws=100)]
    k = int(np.median([seeds if seeds is not None else 1000 for seeds in said]))
    assert 3 <= k <= 20
    found = differences([world(rng, 4, n, k, delta, 0.04) for _ in range(600)], draws=400)
    assert 0.70 <= np.mean([macro.p < 0.05 and macro.points > 0 for macro, _ in found]) <= 0.90


@FEW
@given(st.integers(1, 3), st.integers(1, 3), st.integers(2, 12), st.integers(0, 1000))
def test_comparison_the_other_way_round_is_its_mirror_image(k_a, k_b, n, seed):
    a, b = drawn(2, n, k_a, seed=seed), drawn(2, n, k_b, seed=seed + 5000)
    (one, parts), (other, _) = (differences([Paired(x, y)], draws=400)[0] for x, y in ((a, b), (b, a)))
    assert one.points == pytest.approx(-other.points)
    assert (one.seeds, one.questions) == (other.seeds, pytest.approx(other.questions) if other.questions else other.questions)
    assert one.low <= one.high and 0 < one.p <= 1 and one.low >= -100 and one.high <= 100
    if one.points and all(part.points for part in parts):
        assert (one.low, one.high, one.p) == (pytest.approx(-other.high), pytest.approx(-other.low), pytest.approx(other.p))
