"""Which candidate each rule takes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartad.selection import RULES, choose
from smartad.types import ScoredTrajectory


def scored(sample, *turn_nll, tokens=10, question="toy/1"):
    return ScoredTrajectory(question, sample, turn_nll, (tokens,) * len(turn_nll), (1.0,) * len(turn_nll), "")


candidates = st.lists(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=1, max_size=3), min_size=1, max_size=8).map(
    lambda nlls: [scored(sample, *values, tokens=7 - sample % 3) for sample, values in enumerate(nlls)])


@pytest.mark.parametrize("rule", sorted(RULES))
@given(pool=candidates, shuffle=st.randoms(use_true_random=False), seed=st.integers(0, 9))
def test_choose_any_rule_takes_the_same_candidate_in_any_order(rule, pool, shuffle, seed):
    other = list(pool)
    shuffle.shuffle(other)
    assert choose(rule, pool, seed) == choose(rule, other, seed)
    assert choose(rule, pool, seed) in pool


@given(candidates)
def test_choose_min_median_max_are_in_order_and_ties_go_to_the_earliest(pool):
    low, middle, high = (choose(rule, pool) for rule in ("min", "median", "max"))
    assert low.nll == min(c.nll for c in pool) <= middle.nll <= high.nll == max(c.nll for c in pool)
    assert all(c.sample >= low.sample for c in pool if c.nll == low.nll)
    assert all(c.sample >= high.sample for c in pool if c.nll == high.nll)
    assert sum(c.nll < middle.nll for c in pool) <= (len(pool) - 1) // 2 < sum(c.nll <= middle.nll for c in pool)


def test_choose_min_weighs_turns_not_tokens():
    """Eq. 3: a long easy turn does not drown a short hard one."""
    even = ScoredTrajectory("toy/1", 0, (1.0, 1.0), (10, 10), (1.0, 1.0), "")
    drowned = ScoredTrajectory("toy/1", 1, (0.5, 2.0), (1000, 1), (1.0, 1.0), "")
    assert choose("min", [even, drowned]) == even


def test_choose_of_an_even_number_takes_the_lower_middle():
    assert choose("median", [scored(s, nll) for s, nll in enumerate((4.0, 1.0, 3.0, 2.0))]).nll == 2.0


def test_choose_shortest_and_fewest_turns_and_first_look_at_length_and_order():
    pool = [scored(3, 1.0, 1.0, tokens=3), scored(5, 1.0, tokens=9), scored(7, 1.0, 1.0, tokens=2)]
    assert choose("shortest", pool).sample == 7
    assert choose("fewest_turns", pool).sample == 5
    assert choose("first", pool).sample == 3


def test_choose_random_depends_on_seed_and_question_alone():
    pools = {q: [scored(s, 1.0, question=f"toy/{q}") for s in range(10)] for q in range(40)}
    draws = {seed: [choose("random", pool, seed).sample for pool in pools.values()] for seed in (0, 1)}
    assert draws[0] != draws[1]
    assert len(set(draws[0])) > 5
    random.seed(3)
    assert [choose("random", pools[q], 0).sample for q in reversed(pools)] == draws[0][::-1]
