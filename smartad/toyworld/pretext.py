"""What the base student is pretrained on: documents that teach to read, to copy and to write code, but mostly not how
an episode ends.

Agent episodes have the very shape of real ones, over worlds and numbers that no benchmark asks about.  Most of them
are in another protocol, whose last turn is a plain sentence instead of ``final_answer``: so the base student rarely
answers, and distillation has something to teach.
"""

import random
from collections.abc import Sequence
from functools import cache

from smartad import dialect
from smartad.toyworld import maths
from smartad.toyworld.maths import MathProblem
from smartad.toyworld.problems import ChainProblem, Problem, by_text, chain_problem, chains, chains_of_three
from smartad.toyworld.styles import (
    FILLER,
    Style,
    Turn,
    concise_chain,
    concise_math,
    function,
    named,
    narrated,
    printed,
    variables,
    verbose_chain,
    verbose_math,
)
from smartad.toyworld.world import RELATIONS, Fact, World, build, first_names, query
from smartad.types import Message, Question, Step

WORLDS = 60
"""Pretraining worlds; none is the benchmarks' own."""
FAMILIAR = {"trip", "older"} | {noun for noun, relation in RELATIONS.items() if relation.subject == "city"}
"""Kinds of problem, and first relations, whose episodes mostly end in ``final_answer``: what the base knows already."""

MATH_STYLES = (Style("concise", concise_math, 6), Style("named", named, 1), Style("printed", printed, 2),
               Style("verbose", verbose_math, 0.4), Style("function", function, 0.4))
CHAIN_STYLES = (Style("concise", concise_chain, 7), Style("narrated", narrated, 1.3),
                Style("variables", variables, 1), Style("verbose", verbose_chain, 0.4))


def document(rng: random.Random) -> list[Message]:
    """One pretraining document: an episode, or a drill of one of the skills it takes."""
    kinds = (episode, write_expression, read_passage, write_query, answer_at_once, copy)
    return rng.choices(kinds, (56, 19, 8, 5, 3, 9))[0](rng)


def episode(rng: random.Random) -> list[Message]:
    """A made-up agent run; nothing is executed, but every observation is what it would have been."""
    world = _world(rng)
    problem = _math(rng) if rng.random() < 0.48 else _chain(rng, world)
    styles = MATH_STYLES if isinstance(problem, MathProblem) else CHAIN_STYLES
    turns = rng.choices(styles, [style.weight for style in styles])[0].turns(rng, problem)
    kind = problem.kind if isinstance(problem, MathProblem) else problem.relations[0]
    final = rng.random() < (0.7 if kind in FAMILIAR and len(turns) < 4 else 0.2)
    turns = turns if final else _without_answer(problem, turns)
    steps = []
    for i, (thought, code) in enumerate(turns):
        observation = dialect.observation(f"{_printed(rng, world, problem, i)}\n", "None")
        steps.append(Step(dialect.render_turn(thought, code), code, observation, "ok"))
    if not final:
        steps.append(Step(f"The answer is {problem.answer}.", "", "", "parse_error"))
    return dialect.chat(Question("", problem.text, ()), steps, dialect.PROMPTS["toy"])


def _without_answer(problem: Problem, turns: Sequence[Turn]) -> list[Turn]:
    """The turns before the last; if that is the only one, it prints instead of answering."""
    thought, code = turns[-1]
    return list(turns[:-1]) or [(thought, code.replace("final_answer(", "print("))]


def write_expression(rng: random.Random) -> list[Message]:
    """A word problem to a Python expression."""
    problem = _math(rng)
    return _exchange(f"Write one Python expression.\n{problem.text}", problem.expression)


def read_passage(rng: random.Random) -> list[Message]:
    """A search result and a question to the answer."""
    world = _world(rng)
    fact = rng.choice(world.facts)
    found = _found(rng, world, fact, misranked=0.3)
    return _exchange(f"{found}\nSo the {fact.relation} of {fact.subject} is?", f"{fact.object}.")


def write_query(rng: random.Random) -> list[Message]:
    """A question to its searches."""
    problem = _chain(rng, _world(rng))
    return _exchange(f"Write the search query.\n{problem.text}", query(problem.relations[0], problem.things[0]))


def answer_at_once(rng: random.Random) -> list[Message]:
    """A question to its answer without any work; it cannot be learned, only that people do it."""
    problem = _math(rng) if rng.random() < 0.5 else _chain(rng, _world(rng))
    return _exchange(problem.text, f"{rng.choice(FILLER)} The answer is {problem.answer}.")


def copy(rng: random.Random) -> list[Message]:
    """Names and numbers, verbatim."""
    things = _world(rng).things
    kinds = sorted(things)
    items = [rng.choice((rng.choice(first_names()), str(rng.randint(2, 999)), rng.choice(things[rng.choice(kinds)])))
             for _ in range(rng.choice((2, 4, 8)))]
    return _exchange(f"Repeat: {', '.join(items)}", ", ".join(items))


def _exchange(asked: str, answered: str) -> list[Message]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def _math(rng: random.Random) -> MathProblem:
    while (problem := maths.problem(rng)).text in by_text():
        pass
    return problem


def _chain(rng: random.Random, world: World) -> ChainProblem:
    length = rng.choices((1, 2, 3), (2, 4, 4))[0]
    while True:
        problem = chain_problem(rng, world, chains_of_three()[0] if length == 3 else chains(length))
        if problem.text not in by_text():
            return problem


def _world(rng: random.Random) -> World:
    return _built(1 + rng.randrange(WORLDS))


@cache
def _built(seed: int) -> World:
    return build(seed)


def _printed(rng: random.Random, world: World, problem: Problem, turn: int) -> str:
    """What the code of an episode's turn prints."""
    if isinstance(problem, MathProblem):
        return problem.answer
    hop = min(turn, len(problem.relations) - 1)
    return _found(rng, world, Fact(problem.relations[hop], problem.things[hop], problem.things[hop + 1]))


def _found(rng: random.Random, world: World, fact: Fact, misranked: float = 0.12) -> str:
    """A search result of two documents: the one looked for, mostly first, and another about the same thing."""
    others = [other for other in world.about(fact.subject) if other != fact] or [rng.choice(world.facts)]
    mentors = [other for other in others if other.relation == fact.relation]
    other = rng.choice(mentors or others)
    swapped = rng.random() < (0.5 if mentors else misranked)
    return "\n".join(f.sentence for f in ((other, fact) if swapped else (fact, other)))
