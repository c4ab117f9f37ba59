"""Which candidate each rule takes."""

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartad.selection import BY_ORDER_OR_CHANCE, RULES, Candidate, choose, rank_surprisal, tied
from smartad.types import ScoredTrajectory, Step, Trajectory


def scored(sample, *turn_nll, tokens=10, ranks=None, question="toy/1", tool_calls=0):
    score = ScoredTrajectory(question, sample, turn_nll, (tokens,) * len(turn_nll), ranks or (1.0,) * len(turn_nll), "")
    steps = (Step("", "f()", "", "ok"),) * tool_calls + (Step("", "g(", "", "parse_error"), Step("I think.", "", "", "ok"))
    return Candidate(Trajectory(question, sample, steps, "1", "answered", None, 0.0), score)


values = st.sampled_from([0.5, 1.0, 2.0])
candidates = st.lists(st.tuples(st.lists(values, min_size=1, max_size=3), st.integers(1, 3), st.integers(0, 2)), min_size=1,
                      max_size=8).map(lambda rows: [
    scored(sample, *nlls, tokens=rank + 4, ranks=(float(rank),) * len(nlls), tool_calls=calls)
    for sample, (nlls, rank, calls) in enumerate(rows)])


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
    assert all(c.sample >= middle.sample for c in pool if c.nll == middle.nll)
    assert all(c.sample >= high.sample for c in pool if c.nll == high.nll)
    assert sum(c.nll < middle.nll for c in pool) <= (len(pool) - 1) // 2 < sum(c.nll <= middle.nll for c in pool)


def test_choose_min_weighs_turns_not_tokens():
    """Eq. 3: a long easy turn does not drown a short hard one."""
    even, drowned = scored(0, 1.0, 1.0), scored(1, 0.5, 2.0)
    drowned = dataclasses.replace(drowned, score=dataclasses.replace(drowned.score, turn_tokens=(1000, 1)))
    assert choose("min", [even, drowned]) == even


def test_choose_of_an_even_number_takes_the_lower_middle():
    assert choose("median", [scored(s, nll) for s, nll in enumerate((4.0, 1.0, 3.0, 2.0))]).nll == 2.0


def test_choose_shortest_and_fewest_tool_calls_and_first_look_at_length_calls_and_order():
    pool = [scored(3, 1.0, 1.0, tokens=3, tool_calls=2), scored(5, 1.0, tokens=9, tool_calls=1),
            scored(7, 1.0, 1.0, tokens=2, tool_calls=2)]
    assert choose("shortest", pool).sample == 7
    assert choose("fewest_tool_calls", pool).sample == 5
    assert choose("first", pool).sample == 3


def test_tool_calls_are_the_blocks_that_ran():
    assert scored(0, 1.0, tool_calls=3).trajectory.tool_calls == 3


def test_rank_surprisal_of_what_rounding_makes_less_than_certain_is_not_chosen():
    sure, learnable = scored(0, -1e-7), scored(1, 0.5)
    assert rank_surprisal(sure.score) == float("inf")
    assert choose("rank_surprisal", [sure, learnable]) is learnable


@given(st.lists(st.lists(st.tuples(st.integers(1, 500), st.floats(0.01, 9)), min_size=1, max_size=5), min_size=1, max_size=4))
def test_rank_surprisal_is_a_ratio_of_sums_over_tokens_not_of_means_over_turns(turns):
    """Against the definition, token by token; a score keeps no more than each turn's means."""
    clipped = [[(min(rank, 100), nll) for rank, nll in turn] for turn in turns]
    means = [[sum(column) / len(turn) for column in zip(*turn, strict=True)] for turn in clipped]
    score = ScoredTrajectory("toy/1", 0, tuple(nll for _, nll in means), tuple(map(len, turns)), tuple(r for r, _ in means), "")
    tokens = [token for turn in clipped for token in turn]
    assert rank_surprisal(score) == pytest.approx(sum(rank for rank, _ in tokens) / sum(nll for _, nll in tokens))


def test_choose_rank_surprisal_takes_likely_words_in_an_unlikely_whole():
    pool = [scored(n, nll, ranks=(rank,)) for n, (nll, rank) in enumerate([(0.5, 1.0), (2.0, 1.5), (4.0, 60.0), (0.0, 1.0)])]
    assert choose("rank_surprisal", pool).sample == 1
    assert rank_surprisal(pool[3].score) == float("inf")


@pytest.mark.parametrize("rule", sorted(RULES.keys() - set(BY_ORDER_OR_CHANCE)))
@given(pool=candidates, rename=st.randoms(use_true_random=False))
def test_tied_choice_is_one_that_other_sample_numbers_would_change(rule, pool, rename):
    """Give the samples other numbers: without a tie the same trajectory is taken."""
    numbers = list(range(len(pool)))
    rename.shuffle(numbers)
    renamed = [dataclasses.replace(c, score=dataclasses.replace(c.score, sample=n)) for c, n in zip(pool, numbers, strict=True)]
    same = choose(rule, renamed).trajectory == choose(rule, pool).trajectory
    assert same or tied(rule, pool)


def test_tied_is_said_of_equal_candidates_and_of_no_others():
    assert tied("min", [scored(0, 1.0), scored(1, 2.0), scored(2, 1.0)])
    assert not tied("max", [scored(0, 1.0), scored(1, 2.0), scored(2, 1.0)])
    assert not any(tied(rule, [scored(0, 1.0)]) for rule in RULES)
    assert not any(tied(rule, [scored(0, 1.0), scored(1, 1.0)]) for rule in BY_ORDER_OR_CHANCE)


def test_choose_random_depends_on_seed_and_question_alone():
    pools = {q: [scored(s, 1.0, question=f"toy/{q}") for s in range(10)] for q in range(40)}
    draws = {seed: [choose("random", pool, seed).sample for pool in pools.values()] for seed in (0, 1)}
    assert draws[0] != draws[1]
    assert len(set(draws[0])) > 5
    random.seed(3)
    assert [choose("random", pools[q], 0).sample for q in reversed(pools)] == draws[0][::-1]
