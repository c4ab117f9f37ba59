"""How the scripted teacher goes about a problem: one function per style.

A style takes a problem and a random generator and returns its turns, (thought, code) each, written down before anything
runs: the teacher knows the world.  Short styles and noisy ones, wrong ones, ones that crash and recover, and ones whose
answer is right but comes from nowhere (``mental``, ``memory``, ``half_memory``): nobody can learn those from the text.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from smartad.toyworld.maths import MathProblem
from smartad.toyworld.problems import ChainProblem
from smartad.toyworld.world import query

Turn = tuple[str, str]
"""Thought and code."""

FILLER = ("Let me think about this.", "I restate the problem first.", "A check is wise here.", "I stay careful.",
          "I pick the safest way.", "Hmm, wait.", "I go slowly.", "I list what is known.")


@dataclass(frozen=True)
class Style:
    """A way to solve a problem."""

    name: str
    turns: Callable[[random.Random, Any], list[Turn]]
    weight: float
    """How often it is taken, relative to the others."""
    everywhere: bool = True
    """False: only on the questions that the teacher happens to know by heart."""


def concise_math(rng: random.Random, problem: MathProblem) -> list[Turn]:
    """One expression."""
    return [("I compute it with code.", f"final_answer({problem.expression})")]


def named(rng: random.Random, problem: MathProblem) -> list[Turn]:
    """A variable for each number."""
    lines = [f"{name} = {value}" for name, value in problem.values]
    return [("I store the values and combine them.", "\n".join([*lines, f"final_answer({problem.named})"]))]


def printed(rng: random.Random, problem: MathProblem) -> list[Turn]:
    """Looks at the result before answering."""
    return [("I compute the value first.", f"result = {problem.expression}\nprint(result)"),
            ("The value is printed, so I answer.", "final_answer(result)")]


def verbose_math(rng: random.Random, problem: MathProblem) -> list[Turn]:
    """One expression after much talk."""
    a, b, c = rng.sample(FILLER, 3)
    numbers = " and ".join(str(value) for _, value in problem.values)
    return [(f"{a} {b} The numbers are {numbers}. {c}",
             f"# values from the task\nvalue = {problem.expression}\n# report\nfinal_answer(value)")]


def function(rng: random.Random, problem: MathProblem) -> list[Turn]:
    """A helper nobody needs."""
    a, b = rng.sample(FILLER, 2)
    names, values = zip(*problem.values, strict=True)
    code = (f"def solve({', '.join(names)}):\n    out = {problem.named}\n    return out\n"
            f"final_answer(solve({', '.join(map(str, values))}))")
    return [(f"{a} I write a helper function. {b}", code)]


def checked_math(rng: random.Random, problem: MathProblem) -> list[Turn]:
    """Computes twice and compares."""
    return [(f"{rng.choice(FILLER)} I compute it first.", f"first = {problem.expression}\nprint(first)"),
            (f"{rng.choice(FILLER)} I compute it again.", f"again = {problem.expression}\nprint(first == again)"),
            ("Both agree.", "final_answer(again)")]


def mental(rng: random.Random, problem: MathProblem) -> list[Turn]:
    """The number appears from nowhere."""
    return [(f"I can do it in my head: it gives {problem.answer}.", f"final_answer({problem.answer})")]


def mental_printed(rng: random.Random, problem: MathProblem) -> list[Turn]:
    """The number appears from nowhere, and is printed as if it had been computed."""
    return [(f"In my head the result is {problem.answer}. I note it.", f"print({problem.answer})"),
            ("Now I report it.", f"final_answer({problem.answer})")]


def wrong_operation(rng: random.Random, problem: MathProblem) -> list[Turn]:
    """Takes away what should be added."""
    code = problem.expression
    for right, wrong in ((" + ", " - "), (" - ", " + "), (" * ", " + "), (", ", " + 1, ")):
        if right in code:
            code = code.replace(right, wrong, 1)
            break
    return [("I compute it with code.", f"final_answer({code})")]


def misread(rng: random.Random, problem: MathProblem) -> list[Turn]:
    """Reads a number wrong."""
    slip = dict(problem.values)
    slip[rng.choice(list(slip))] += rng.choice((-1, 1, 10))
    return [("I compute the value first.", f"result = {problem.formula.format(**slip)}\nprint(result)"),
            ("The value is printed, so I answer.", "final_answer(result)")]


def crash_math(rng: random.Random, problem: MathProblem) -> list[Turn]:
    """Uses a name that does not exist, and recovers."""
    return [("I compute it with code.", f"print(total_{rng.randrange(9)})"),
            ("The name was missing. I compute directly.", f"final_answer({problem.expression})")]


def _search(relation: str, thing: str) -> str:
    return f'print(web_search("{query(relation, thing)}"))'


def _answer(answer: str) -> str:
    return f'final_answer("{answer}")'


def concise_chain(rng: random.Random, problem: ChainProblem) -> list[Turn]:
    """Search, search, answer."""
    return [*[(f"I look up the {noun} of {thing}.", _search(noun, thing))
              for noun, thing in zip(problem.relations, problem.things, strict=False)],
            (f"The answer is {problem.answer}.", _answer(problem.answer))]


def narrated(rng: random.Random, problem: ChainProblem) -> list[Turn]:
    """Says what the last search found before the next."""
    turns, known = [], ""
    for noun, thing, found in zip(problem.relations, problem.things, problem.things[1:], strict=False):
        turns.append((f"{known}I need the {noun} of {thing}.", _search(noun, thing)))
        known = f"The {noun} is {found}. "
    return [*turns, (f"{known}That is the answer.", _answer(problem.answer))]


def variables(rng: random.Random, problem: ChainProblem) -> list[Turn]:
    """Everything in a variable first."""
    turns = [(f"Next I need the {noun} of {thing}.",
              f'query = "{query(noun, thing)}"\nresult = web_search(query)\nprint(result)')
             for noun, thing in zip(problem.relations, problem.things, strict=False)]
    return [*turns, (f"I found {problem.answer}.", f'answer = "{problem.answer}"\nfinal_answer(answer)')]


def verbose_chain(rng: random.Random, problem: ChainProblem) -> list[Turn]:
    """Search, search, answer, with much talk."""
    turns = []
    for noun, thing in zip(problem.relations, problem.things, strict=False):
        a, b = rng.sample(FILLER, 2)
        turns.append((f"{a} The question asks about {thing} and its {noun}. {b}",
                      f'# look up a fact\nfacts = web_search("{query(noun, thing)}")\nprint(facts)'))
    return [*turns, (f"{rng.choice(FILLER)} The facts say {problem.answer}, so I report it.",
                     f"# report\n{_answer(problem.answer)}")]


def detour(rng: random.Random, problem: ChainProblem) -> list[Turn]:
    """Searches the whole question first, which helps nobody."""
    return [("I search the whole question.", f'print(web_search("{problem.text}"))'), *concise_chain(rng, problem)]


def checked_chain(rng: random.Random, problem: ChainProblem) -> list[Turn]:
    """Looks the last fact up twice."""
    *turns, last = concise_chain(rng, problem)
    noun, thing = problem.relations[-1], problem.things[-2]
    again = f'again = web_search("{query(noun, thing)}")\nprint(again)'
    return [*turns, (f"{rng.choice(FILLER)} I check the {noun} of {thing} once more.", again), last]


def memory(rng: random.Random, problem: ChainProblem) -> list[Turn]:
    """Knows the answer by heart."""
    return [(f"I remember that the answer is {problem.answer}.", _answer(problem.answer))]


def half_memory(rng: random.Random, problem: ChainProblem) -> list[Turn]:
    """Knows everything but the last step by heart."""
    noun, thing = problem.relations[-1], problem.things[-2]
    return [(f"I know this leads to {thing}. I look up the {noun} of {thing}.", _search(noun, thing)),
            (f"The answer is {problem.answer}.", _answer(problem.answer))]


def early(rng: random.Random, problem: ChainProblem) -> list[Turn]:
    """Stops one step too early."""
    return [*concise_chain(rng, problem)[:-2], (f"The answer is {problem.things[-2]}.", _answer(problem.things[-2]))]


def mixed_up(rng: random.Random, problem: ChainProblem) -> list[Turn]:
    """Searches well and answers with the thing it started from."""
    return [*concise_chain(rng, problem)[:-1], (f"The answer is {problem.things[0]}.", _answer(problem.things[0]))]


def crash_chain(rng: random.Random, problem: ChainProblem) -> list[Turn]:
    """Reads a variable before there is one, and recovers."""
    return [("I look at the page first.", f"print(page_{rng.randrange(9)})"), *concise_chain(rng, problem)]


MATH_STYLES = (
    Style("concise", concise_math, 2.5), Style("named", named, 2), Style("printed", printed, 2),
    Style("verbose", verbose_math, 2), Style("function", function, 1.5), Style("checked", checked_math, 1.5),
    Style("mental", mental, 4, everywhere=False), Style("mental_printed", mental_printed, 2, everywhere=False),
    Style("wrong_operation", wrong_operation, 1), Style("misread", misread, 1), Style("crash", crash_math, 0.7),
)
CHAIN_STYLES = (
    Style("concise", concise_chain, 2.5), Style("narrated", narrated, 2), Style("variables", variables, 2),
    Style("verbose", verbose_chain, 2), Style("detour", detour, 1.5), Style("checked", checked_chain, 1.5),
    Style("memory", memory, 4, everywhere=False), Style("half_memory", half_memory, 2.5, everywhere=False),
    Style("early", early, 1.2), Style("mixed_up", mixed_up, 0.8), Style("crash", crash_chain, 0.7),
)
