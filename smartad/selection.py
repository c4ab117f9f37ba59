"""Which of a question's trajectories the student learns from (Eq. 4 and what it is compared with).

To add a rule: write a function of (candidates, random) and list it in RULES.
"""

import random
from collections.abc import Callable, Sequence

from smartad.types import ScoredTrajectory

Rule = Callable[[Sequence[ScoredTrajectory], random.Random], ScoredTrajectory]
"""Candidates come in the order of their samples, at least one; min() and max() give a tie to the earliest."""


def choose(rule: str, candidates: Sequence[ScoredTrajectory], seed: int | None = None) -> ScoredTrajectory:
    """One of a question's candidates, whatever their order.

    Rules that draw use ``seed`` and the question's id, so that one question's draw does not depend on the others.
    """
    ordered = sorted(candidates, key=lambda c: c.sample)
    return RULES[rule](ordered, random.Random(f"{seed}#{ordered[0].question_id}"))


def lowest_nll(candidates: Sequence[ScoredTrajectory], _: random.Random) -> ScoredTrajectory:
    """Eq. 4."""
    return min(candidates, key=lambda c: c.nll)


def highest_nll(candidates: Sequence[ScoredTrajectory], _: random.Random) -> ScoredTrajectory:
    """Section 4.4's max-NLL."""
    return max(candidates, key=lambda c: c.nll)


def median_nll(candidates: Sequence[ScoredTrajectory], _: random.Random) -> ScoredTrajectory:
    """Section 4.4's medium-NLL; the lower of the two middles when their number is even."""
    return sorted(candidates, key=lambda c: c.nll)[(len(candidates) - 1) // 2]


def at_random(candidates: Sequence[ScoredTrajectory], rng: random.Random) -> ScoredTrajectory:
    """Any of them: agent distillation without selection."""
    return rng.choice(candidates)


def earliest(candidates: Sequence[ScoredTrajectory], _: random.Random) -> ScoredTrajectory:
    """The first sample that passed the filter."""
    return candidates[0]


def shortest(candidates: Sequence[ScoredTrajectory], _: random.Random) -> ScoredTrajectory:
    """The fewest tokens written by the teacher."""
    return min(candidates, key=lambda c: sum(c.turn_tokens))


def fewest_turns(candidates: Sequence[ScoredTrajectory], _: random.Random) -> ScoredTrajectory:
    """The fewest assistant turns, and so tool calls."""
    return min(candidates, key=lambda c: len(c.turn_nll))


RULES: dict[str, Rule] = {"min": lowest_nll, "median": median_nll, "max": highest_nll, "random": at_random,
                          "first": earliest, "shortest": shortest, "fewest_turns": fewest_turns}
