"""The toy questions, with what it takes to solve them: word problems, and chains of facts.

``problems()`` holds the four benchmarks: toy_train (both kinds), toy_math, toy_qa (two facts, about things that no
training question starts from) and toy_qa3 (three facts; training never goes beyond two).  toy_train also asks for single
facts: otherwise a student learns to answer after two searches, whatever the question.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from smartad.toyworld import maths
from smartad.toyworld.maths import MathProblem
from smartad.toyworld.world import RELATIONS, World, world
from smartad.types import Question

Chain = tuple[str, ...]
"""Relations in the order they are followed."""
TRAIN, TEST = 0, 1
SIZE = 300
"""Questions per benchmark; toy_train has twice as many."""


@dataclass(frozen=True)
class ChainProblem:
    """A question that takes several facts, each found with the one before."""

    text: str
    relations: Chain
    things: tuple[str, ...]
    """Start, what each relation led to, ..., answer: one more than ``relations``."""

    @property
    def kind(self) -> str:
        """For analysis."""
        return "-".join(self.relations)

    @property
    def answer(self) -> str:
        """The last thing."""
        return self.things[-1]


Problem = MathProblem | ChainProblem


def chains(length: int) -> list[Chain]:
    """Every chain of ``length`` relations that fit each other, none twice and none that leads back."""
    found: list[Chain] = [(noun,) for noun in RELATIONS]
    for _ in range(length - 1):
        found = [(*chain, noun) for chain in found for noun in RELATIONS
                 if RELATIONS[noun].subject == RELATIONS[chain[-1]].object and noun not in chain
                 and (chain[-1], noun) != ("capital", "country")]
    return found


@cache
def chains_of_three() -> tuple[list[Chain], list[Chain]]:
    """(seen in pretraining, asked by toy_qa3): the chains of three relations, in two halves."""
    shuffled = random.Random(3).sample(chains(3), len(chains(3)))
    half = len(shuffled) // 2
    return sorted(shuffled[:half]), sorted(shuffled[half:])


def chain_problem(rng: random.Random, where: World, of: Sequence[Chain], part: int | None = None) -> ChainProblem:
    """A question about ``where`` over one of the chains ``of``.

    ``part``: start from the TRAIN or the TEST half of the things; None: from any.
    """
    while True:
        relations = rng.choice(of)
        starts = where.things[RELATIONS[relations[0]].subject]
        things = [rng.choice(starts if part is None else starts[part::2])]
        for noun in relations:
            things.append(where.follow(noun, things[-1]))
        if len(set(things)) == len(things):
            return ChainProblem(_ask(rng, relations, things[0]), relations, tuple(things))


def _ask(rng: random.Random, relations: Chain, start: str) -> str:
    phrase = f"{start}'s {relations[0]}" if rng.random() < 0.3 else f"the {relations[0]} of {start}"
    for noun in relations[1:]:
        phrase = f"the {noun} of {phrase}"
    asked = "Who is" if RELATIONS[relations[-1]].object == "person" else "What is"
    return rng.choice((f"{asked} {phrase}?", f"Name {phrase}.", f"Tell me {phrase}."))


@cache
def problems() -> dict[str, tuple[Problem, ...]]:
    """The problems of each benchmark, in order; no two have the same text.  Any first N are a fair sample."""
    rng = random.Random(2026)
    seen: set[str] = set()

    def fresh(make: Callable[[], Problem]) -> Iterator[Problem]:
        while True:
            problem = make()
            if problem.text not in seen:
                seen.add(problem.text)
                yield problem

    math = fresh(lambda: maths.problem(rng))
    qa1_train = fresh(lambda: chain_problem(rng, world(), chains(1), TRAIN))
    qa_train = fresh(lambda: chain_problem(rng, world(), chains(2), TRAIN))
    qa = fresh(lambda: chain_problem(rng, world(), chains(2), TEST))
    qa3 = fresh(lambda: chain_problem(rng, world(), chains_of_three()[1], TEST))
    return {
        "toy_train": tuple(next(kind) for _ in range(SIZE // 3) for kind in (math, qa_train, math, qa1_train, math, qa_train)),
        "toy_math": tuple(next(math) for _ in range(SIZE)),
        "toy_qa": tuple(next(qa) for _ in range(SIZE)),
        "toy_qa3": tuple(next(qa3) for _ in range(SIZE)),
    }


def questions(benchmark: str) -> list[Question]:
    """The problems of a benchmark without their solutions, ``toy_math/0`` and on."""
    return [Question(f"{benchmark}/{i}", p.text, (p.answer,)) for i, p in enumerate(problems()[benchmark])]


@cache
def by_text() -> dict[str, Problem]:
    """Every benchmark problem by its question."""
    return {problem.text: problem for group in problems().values() for problem in group}
