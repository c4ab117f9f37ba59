"""Which of a question's trajectories the student learns from (Eq. 4 and what it is compared with).

To add a rule: write a function of (candidates, random) and list it in RULES.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median_low

from smartad.types import ScoredTrajectory, Trajectory


@dataclass(frozen=True)
class Candidate:
    """A trajectory that may be chosen, and what it is chosen by."""

    trajectory: Trajectory
    score: ScoredTrajectory

    @property
    def sample(self) -> int:
        """Its number in the pool."""
        return self.score.sample

    @property
    def nll(self) -> float:
        """Eq. 3, nats per token."""
        return self.score.nll


Rule = Callable[[Sequence[Candidate], random.Random], Candidate]
"""Candidates come in the order of their samples, at least one; min() and max() give a tie to the earliest."""


def choose(rule: str, candidates: Sequence[Candidate], seed: int | None = None) -> Candidate:
    """One of a question's candidates, whatever their order.

    Rules that draw use ``seed`` and the question's id, so that one question's draw does not depend on the others.
    """
    return RULES[rule](_ordered(candidates), _random(candidates, seed))


def tied(rule: str, candidates: Sequence[Candidate]) -> bool:
    """Whether another candidate was as good, and only the order of the samples decided: in the other order it is taken.

    False for rules that go by that order, or by chance.
    """
    if rule in BY_ORDER_OR_CHANCE:
        return False
    backwards = RULES[rule](_ordered(candidates)[::-1], _random(candidates, None))
    return backwards != choose(rule, candidates)


def _ordered(candidates: Sequence[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda c: c.sample)


def _random(candidates: Sequence[Candidate], seed: int | None) -> random.Random:
    return random.Random(f"{seed}#{candidates[0].trajectory.question_id}")


def lowest_nll(candidates: Sequence[Candidate], _: random.Random) -> Candidate:
    """Eq. 4."""
    return min(candidates, key=lambda c: c.nll)


def highest_nll(candidates: Sequence[Candidate], _: random.Random) -> Candidate:
    """Section 4.4's max-NLL."""
    return max(candidates, key=lambda c: c.nll)


def median_nll(candidates: Sequence[Candidate], _: random.Random) -> Candidate:
    """Section 4.4's medium-NLL; the lower of the two middles when their number is even."""
    middle = median_low(c.nll for c in candidates)
    return next(c for c in candidates if c.nll == middle)


def at_random(candidates: Sequence[Candidate], rng: random.Random) -> Candidate:
    """Any of them: agent distillation without selection."""
    return rng.choice(candidates)


def earliest(candidates: Sequence[Candidate], _: random.Random) -> Candidate:
    """The first sample that passed the filter."""
    return candidates[0]


def shortest(candidates: Sequence[Candidate], _: random.Random) -> Candidate:
    """The fewest tokens written by the teacher, as the student's tokenizer counts them."""
    return min(candidates, key=lambda c: sum(c.score.turn_tokens))


def fewest_tool_calls(candidates: Sequence[Candidate], _: random.Random) -> Candidate:
    """The fewest blocks of code that ran."""
    return min(candidates, key=lambda c: c.trajectory.tool_calls)


def lowest_rank_surprisal(candidates: Sequence[Candidate], _: random.Random) -> Candidate:
    """The lowest rank-surprisal ratio: likely words in an unlikely whole (Yang et al., arXiv 2601.14249)."""
    return min(candidates, key=lambda c: rank_surprisal(c.score))


def rank_surprisal(score: ScoredTrajectory) -> float:
    """Sum over tokens of min(rank, 100) by the sum of their negative log-likelihoods (arXiv 2601.14249).

    Of all tokens alike, not turn by turn as Eq. 3.  Infinite where nothing surprises: then there is nothing to learn.
    """
    ranks = sum(rank * tokens for rank, tokens in zip(score.turn_rank, score.turn_tokens, strict=True))
    surprisal = sum(nll * tokens for nll, tokens in zip(score.turn_nll, score.turn_tokens, strict=True))
    return ranks / surprisal if surprisal > 0 else float("inf")


RULES: dict[str, Rule] = {"min": lowest_nll, "median": median_nll, "max": highest_nll, "random": at_random, "first": earliest,
                          "shortest": shortest, "fewest_tool_calls": fewest_tool_calls, "rank_surprisal": lowest_rank_surprisal}
BY_ORDER_OR_CHANCE = ("first", "random")
