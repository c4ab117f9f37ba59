"""Mathematics, strictly: right is what is equal to the gold, however either of them is written.

Both sides are cleaned, taken apart and compared part by part; formulas are read by math-verify's parser and compared exactly.
No x100, no rounding but where the gold is itself rounded; units, degrees, percent signs and currencies count on neither side.
docs/grading.md has the rules as a table.
"""

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache, partial

from smartad.grading import Grade
from smartad.grading import _mathvalues as values
from smartad.grading._mathforms import NAME, Based, Clock, Form, Formula, Matrix, Number, Several, Union, Words, read, words
from smartad.types import Question

VERSION = 1
KINDS = ("math",)
BOUNDED = True
ROUNDED = re.compile(r"\bround|\bnearest|\bapproximat|decimal place|significant (?:figure|digit)|\bestimate", re.IGNORECASE)
"""In a question: its gold is right to its last digit and no further."""
FLOATS = 10
"""Decimals from which on a gold is a computer's: nobody works out more by hand."""
NOISE = Fraction(1, 10 ** 14)
"""How far floating-point arithmetic takes a number from what it should be, of itself."""
DOUBLE_DIGITS = 15
"""Significant digits from which on a decimal is a double as Python prints it."""


def grade(question: Question, answer: str) -> Grade:
    """Right when ``answer`` is any of the accepted answers."""
    rounded = ROUNDED.search(question.text) is not None
    golds = [gold for gold in question.answers if gold.strip()]
    for gold in golds:
        if words(gold) == words(answer):
            return Grade(True, f"{answer.strip()!r} is {gold!r}")
        understood = _read(gold)
        if any(equal(understood, form, rounded) for form in _readings(answer, understood)):
            return Grade(True, f"{_read(answer)} is {understood}")
    return Grade(False, f"{_read(answer)} is not {_read(golds[0])}")


@lru_cache(maxsize=4096)
def _read(text: str) -> Form:
    return read(text)


def _readings(answer: str, gold: Form) -> list[Form]:
    """What ``answer`` may be: 81,256 is one number, and where two are asked for, two."""
    several = isinstance(gold, Several) and re.search(r"\d,\d{3}(?!\d)", answer)
    return [_read(answer), read(answer, grouped=False)] if several else [_read(answer)]


def equal(gold: Form, answer: Form, rounded: bool = False) -> bool:
    """Whether ``answer`` is what ``gold`` is.  ``rounded``: decimals of the gold were rounded."""
    alike = partial(equal, rounded=rounded)
    gold, answer = _only(gold), _only(answer)
    match gold, answer:
        case Number(), Number():
            return _close(gold, answer, rounded)
        case Words(), Words():
            return gold == answer
        case Clock(), Clock():
            return _minutes(gold) == _minutes(answer)
        case Based(), Based():
            return gold == answer
        case Based(), Number():
            return answer.text.lstrip("0") == gold.digits
        case (Number(), Based(base=10)):
            return gold.text == answer.digits
        case Union(parts), (Union(others) | Several(others, "")):
            return _matched(parts, others, alike)
        case Matrix(rows), Matrix(others_) if (len(rows), len(rows[0])) == (len(others_), len(others_[0])):
            return _in_order(gold.cells, answer.cells, alike)
        case Matrix(rows), Several(items) if 1 in (len(rows), len(rows[0])):
            return _in_order(gold.cells, items, alike)
        case Several(), Several():
            return _several(gold, answer, alike)
        case (Number() | Formula() | Words(), Number() | Formula() | Words()):
            return _formulas(gold, answer, rounded)
    return False


def _only(form: Form) -> Form:
    """The one thing in brackets, where there is one: Python prints lists and sets of solutions."""
    return _only(form.items[0]) if isinstance(form, Several) and len(form.items) == 1 else form


def _several(gold: Several, answer: Several, alike: Callable[[Form, Form], bool]) -> bool:
    kinds = {"": "several", r"\{\}": "set", "()": "pair", "[]": "closed"}
    asked, given = (kinds.get(form.opened + form.closed, form.opened + form.closed) for form in (gold, answer))
    in_order = partial(_in_order, gold.items, answer.items, alike)
    if asked == "set" and given in kinds.values():
        return _covers(gold.items, answer.items, alike) and _covers(answer.items, gold.items, lambda a, b: alike(b, a))
    if asked == "several":
        return given in kinds.values() and _matched(gold.items, answer.items, alike)
    if asked == given or (asked == "pair" and given == "several"):
        return in_order()
    # Of two numbers, square brackets are a closed interval and round ones an open one, or a point.
    return {asked, given} == {"pair", "closed"} and len(gold.items) != 2 and in_order()


def _in_order(golds: Sequence[Form], answers: Sequence[Form], alike: Callable[[Form, Form], bool]) -> bool:
    return len(golds) == len(answers) and all(map(alike, golds, answers))


def _matched(golds: Sequence[Form], answers: Sequence[Form], alike: Callable[[Form, Form], bool]) -> bool:
    """Whether each gold has an answer of its own, in any order."""
    left = list(answers)
    for gold in golds:
        found = next((i for i, other in enumerate(left) if alike(gold, other)), None)
        if found is None:
            return False
        del left[found]
    return not left


def _covers(golds: Sequence[Form], answers: Sequence[Form], alike: Callable[[Form, Form], bool]) -> bool:
    return all(any(alike(gold, answer) for answer in answers) for gold in golds)


def _minutes(clock: Clock) -> tuple[int, int]:
    hour = clock.hour % 12 + 12 * (clock.half == "pm") if clock.half else clock.hour
    return hour, clock.minute


def _close(gold: Number, answer: Number, rounded: bool) -> bool:
    """Equal, or as near as the gold itself is to what it stands for."""
    apart = abs(gold.value - answer.value)
    if apart == 0 or gold.decimals is None:
        return apart == 0
    if apart <= tolerance(gold, rounded):
        return True
    return answer.digits >= DOUBLE_DIGITS and apart <= NOISE * abs(gold.value)


def tolerance(gold: Number, rounded: bool) -> Fraction:
    """What an answer may be away from a decimal gold: half of its last digit if it was rounded, by its question or by a computer.
    Nothing if it is whole, or a fraction."""
    if not gold.decimals:
        return Fraction(0)
    computed = gold.decimals >= FLOATS or gold.digits >= DOUBLE_DIGITS
    last = Fraction(1, 2 * 10 ** gold.decimals) if rounded or computed else Fraction(0)
    return max(last, NOISE * abs(gold.value)) if computed else last


def _formulas(gold: Number | Formula | Words, answer: Number | Formula | Words, rounded: bool) -> bool:
    """Both as formulas.  Words are one if they are short enough to be a product of letters."""
    if str(gold) == str(answer):
        return True
    first, second = _sides(gold), _sides(answer)
    if first is None or second is None:
        return False
    if len(first.sides) == 1 or (len(second.sides) == 1 and NAME.fullmatch(first.sides[0])):
        # One of them only: what follows the last "=" is the value, and what is before it, its name.
        if set(first.relations + second.relations) - {"="} or (second.relations and not _names(second.sides[0])):
            return False
        return _values(gold if isinstance(gold, Number) else first.sides[-1],
                       answer if isinstance(answer, Number) else second.sides[-1], rounded)
    if len(second.sides) == 1:
        return False
    if len(first.sides) == len(second.sides) == 2 and first.relations == second.relations == ("=",):
        return _equations(first, second, rounded)
    if len(first.sides) == 2 and len(second.sides) > 2 and set(second.relations) == {"="} == set(first.relations):
        return _equations(first, Formula((second.sides[0], second.sides[-1]), ("=",)), rounded)
    return values.verified(str(first), str(second))


def _names(side: str) -> bool:
    """Whether the left side of an equation is a name for the right one, f(2) or m + n, or itself a number; and not x^2 + 3y."""
    plain = re.sub(r"\([^()]*\)|_\{?\w+\}?", "", side)
    return not re.search(r"[\d^]", plain) or not re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", plain))


def _sides(form: Number | Formula | Words) -> Formula | None:
    match form:
        case Formula():
            return form
        case Number():
            return Formula((form.text,))
    return Formula((form.text,)) if re.fullmatch("[a-z]", form.text) else None


def _values(gold: Number | str, answer: Number | str, rounded: bool) -> bool:
    gold, answer = (side if isinstance(side, Number) else _as_number(side) for side in (gold, answer))
    if isinstance(gold, Number) and isinstance(answer, Number):
        return _close(gold, answer, rounded)
    try:
        first, second = (values.number(side.value) if isinstance(side, Number) else values.value(side) for side in (gold, answer))
    except values.Unreadable:
        return not isinstance(gold, Number) and not isinstance(answer, Number) and words(gold) == words(answer)
    if isinstance(gold, Number) and (within := tolerance(gold, rounded)) and second.is_number and second.is_real:
        return bool(abs(first - second) <= values.number(within))
    return values.same(first, second)


def _as_number(text: str) -> Number | str:
    form = read(text)
    return form if isinstance(form, Number) else text


def _equations(gold: Formula, answer: Formula, rounded: bool) -> bool:
    if NAME.fullmatch(gold.sides[0]) and gold.sides[0] == answer.sides[0]:
        return _values(gold.sides[1], answer.sides[1], rounded)
    try:
        first, second = (values.value(form.sides[0]) - values.value(form.sides[1]) for form in (gold, answer))
    except values.Unreadable:
        return False
    return values.proportional(first, second) or values.verified(str(gold), str(answer))
