"""Word problems whose numbers are computed by Python, not in the head; the difficulty is to read them."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from smartad.toyworld.world import first_names

ITEMS = ("apples", "books", "coins", "pens", "shells", "stamps", "cards", "plums", "eggs", "beads")


@dataclass(frozen=True)
class MathProblem:
    """A word problem and the formula that solves it."""

    text: str
    kind: str
    values: tuple[tuple[str, int], ...]
    """Variable names and the numbers the question gives them."""
    formula: str
    """A Python expression; ``{name}`` stands for a variable."""

    @property
    def named(self) -> str:
        """The formula over variables: ``(start + bought) // friends``."""
        return self.formula.format(**{name: name for name, _ in self.values})

    @property
    def expression(self) -> str:
        """The formula over numbers: ``(12 + 30) // 6``."""
        return self.formula.format(**dict(self.values))

    @property
    def answer(self) -> str:
        """The value of the formula."""
        # Only ever one of the formulas below, over integers.
        return str(eval(self.expression, {"__builtins__": {"sum": sum, "range": range, "pow": pow}}))


def problem(rng: random.Random) -> MathProblem:
    """One problem: half are stories of one to four events, half are of one of the other kinds."""
    return story(rng) if rng.random() < 0.5 else rng.choice(SINGLE)(rng)


def story(rng: random.Random) -> MathProblem:
    """Someone has things and gains, loses, doubles or shares them."""
    who, items = rng.choice(first_names()), rng.choice(ITEMS)
    have = rng.randint(12, 99)
    values, formula = [("start", have)], "{start}"
    told: list[str] = []
    closed = True  # whether the formula can be multiplied as it stands
    events = rng.choices((1, 2, 3, 4), (25, 35, 25, 15))[0]
    for event in rng.sample(EVENTS, len(EVENTS)):
        if len(told) == events or (happened := event(rng, have)) is None:
            continue
        said, term, new, have = happened
        factor = term[0] in "*/"
        formula = f"({formula}) {term}" if factor and not closed else f"{formula} {term}"
        closed = factor
        values += new
        told.append(said.format(items=items, **dict(new)))
    listed = " and ".join(filter(None, (", ".join(told[:-1]), told[-1])))
    aside = rng.choice((f"{who} is {rng.randint(6, 80)} years old and has {values[0][1]} {items}.",
                        *[f"{who} has {values[0][1]} {items}."] * 3))
    text = f"{aside} {who} {listed}. How many {items} does {who} have now?"
    return MathProblem(text, f"story{len(told)}", tuple(values), formula)


Event = tuple[str, str, list[tuple[str, int]], int]
"""What is said, the term it adds to the formula, its new values, and how many things there are after it."""


def _buys(rng: random.Random, have: int) -> Event:
    n = rng.randint(3, 99)
    return "buys {bought} more", "+ {bought}", [("bought", n)], have + n


def _finds(rng: random.Random, have: int) -> Event:
    boxes, size = rng.randint(2, 12), rng.randint(3, 30)
    new = [("boxes", boxes), ("size", size)]
    return "finds {boxes} boxes of {size}", "+ {boxes} * {size}", new, have + boxes * size


def _gives(rng: random.Random, have: int) -> Event | None:
    if have < 4:
        return None
    n = rng.randint(2, min(have - 1, 60))
    return "gives away {given}", "- {given}", [("given", n)], have - n


def _loses(rng: random.Random, have: int) -> Event | None:
    days, each = rng.randint(2, 5), rng.randint(2, 6)
    if days * each >= have:
        return None
    new = [("lost", each), ("days", days)]
    return "loses {lost} on each of {days} days", "- {lost} * {days}", new, have - days * each


def _doubles(rng: random.Random, have: int) -> Event | None:
    return ("doubles the number of {items}", "* 2", [], have * 2) if have < 500 else None


def _shares(rng: random.Random, have: int) -> Event | None:
    fitting = [n for n in range(2, 13) if have % n == 0]
    if not fitting:
        return None
    n = rng.choice(fitting)
    return "keeps one of {parts} equal parts", "// {parts}", [("parts", n)], have // n


EVENTS: tuple[Callable[[random.Random, int], Event | None], ...] = (_buys, _finds, _gives, _loses, _doubles, _shares)


def _fixed(kind: str, text: str, formula: str, **ranges: tuple[int, int]) -> Callable[[random.Random], MathProblem]:
    def make(rng: random.Random) -> MathProblem:
        values = {name: rng.randint(low, high) for name, (low, high) in ranges.items()}
        who, items = rng.choice(first_names()), rng.choice(ITEMS)
        return MathProblem(text.format(who=who, items=items, **values), kind, tuple(values.items()), formula)
    return make


SINGLE = (
    _fixed("perimeter", "A garden is {length} m long and {width} m wide. What is its perimeter in m?",
           "2 * ({length} + {width})", length=(3, 99), width=(3, 99)),
    _fixed("path", "A yard of {length} m by {width} m has a pool of {side} m by {side} m. How many square m are left?",
           "{length} * {width} - {side} * {side}", length=(20, 99), width=(20, 99), side=(2, 19)),
    _fixed("multiples", "What is the sum of all positive multiples of {step} below {limit}?",
           "sum(range({step}, {limit}, {step}))", step=(3, 12), limit=(30, 99)),
    _fixed("squares", "What is the sum of the squares of the numbers from {first} to {last}?",
           "sum(n * n for n in range({first}, {last} + 1))", first=(1, 20), last=(21, 60)),
    _fixed("wages", "{who} earns {wage} coins an hour and works {monday} hours on Monday and {friday} hours on Friday. "
           "Food costs {food} coins. How many coins remain?",
           "{wage} * ({monday} + {friday}) - {food}", wage=(8, 40), monday=(2, 12), friday=(2, 12), food=(3, 30)),
    _fixed("trip", "{who} rides {speed} km an hour for {hours} hours, then walks {walk} km. How many km is that?",
           "{speed} * {hours} + {walk}", speed=(10, 99), hours=(2, 12), walk=(2, 40)),
    _fixed("power", "What is the remainder when {base} to the power {power} is divided by {divisor}?",
           "pow({base}, {power}, {divisor})", base=(2, 40), power=(3, 99), divisor=(5, 99)),
    _fixed("older", "{who} is {age} years old. The uncle of {who} is {times} times as old. "
           "How old will he be in {years} years?",
           "{age} * {times} + {years}", age=(5, 20), times=(2, 4), years=(2, 25)),
)
