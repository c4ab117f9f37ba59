"""How the scripted teacher reasons about a problem without acting.

It computes and remembers rightly most of the time, and else answers something near.  Its words are those of the acting styles,
and the answer stands in a sentence: the student cannot write ``<answer>``, which its pretraining never showed it.
"""

import random

from smartad.toyworld.maths import MathProblem
from smartad.toyworld.problems import Problem

WRONG = 1 / 5
"""The share of chains of thought that end in a wrong answer."""


def chain_of_thought(rng: random.Random, problem: Problem) -> str:
    """The whole text; its first paragraph says what to do, and nothing of the answer."""
    wrong = rng.random() < WRONG
    if isinstance(problem, MathProblem):
        answer = str(int(problem.answer) + rng.choice((-1, 1, 10))) if wrong else problem.answer
        numbers = " and ".join(str(value) for _, value in problem.values)
        paragraphs = [f"I list what is known. The numbers are {numbers}.", f"The value is {problem.expression} = {answer}."]
    else:
        answer = problem.things[-2] if wrong else problem.answer
        facts = zip(problem.relations, problem.things, problem.things[1:], strict=False)
        paragraphs = [f"I list what is known. First I need the {problem.relations[0]} of {problem.things[0]}.",
                      " ".join(f"The {noun} of {thing} was {found}." for noun, thing, found in facts)]
    return "\n\n".join([*paragraphs, f"The answer is {answer}."])
