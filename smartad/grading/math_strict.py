"""Mathematics, strictly: right is what is equal to the gold, however either of them is written.

Both sides are cleaned (grading/_mathtext.py), taken apart (grading/_mathforms.py) and compared part by part; formulas are read by
math-verify's parser and compared exactly (grading/_mathvalues.py).  No x100 and no rounding, except that a gold which a computer
rounded is right to its last digit; units, degrees, percent signs and currencies count on neither side.  docs/grading.md has the
rules as a table.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

from smartad.grading import Grade
from smartad.grading import _mathvalues as values
from smartad.grading._mathforms import NAME, Based, Clock, Form, Formula, Matrix, Number, Several, Union, Words, read, words
from smartad.grading._mathtext import cleaned
from smartad.types import Question

VERSION = 1
KINDS = ("math",)
BOUNDED = True
AT_SIGHT_CHARS = 1000
"""Longer answers are read where they can be given up."""
FLOATS = 10
"""Decimals from which on a gold is a computer's: nobody works out more by hand."""
DOUBLE_DIGITS = 15
"""Significant digits from which on a decimal is a double, as Python prints it."""
NOISE = Fraction(1, 10**14)
"""How far floating-point arithmetic takes a number from what it should be, as a share of it."""
NAMES = rf"{NAME.pattern}(?:\s*(?:[+*/-]|\\cdot(?![a-zA-Z])|\\times(?![a-zA-Z]))?\s*{NAME.pattern})*"
NAMED = re.compile(rf"{NAMES}|\\frac\s*\{{{NAMES}\}}\s*\{{{NAMES}\}}|[a-wA-W]\s*\([^()]*(?:\([^()]*\)[^()]*)?\)")
"""What stands before an equals sign for what follows it: m + n, m/n, f(2)."""
KINDS_OF_BRACKETS = {"": "none", r"\{\}": "set", "()": "round", "[]": "square"}


def grade(question: Question, answer: str) -> Grade:
    """Right when ``answer`` is any of the accepted answers; the reason has both as they were understood."""
    golds = [gold for gold in question.answers if gold.strip()]
    for gold in golds:
        if _same_text(gold, answer):
            return Grade(True, f"{answer.strip()!r:.100} is {gold!r:.100}")
        understood = _read(gold)
        if any(equal(understood, form) for form in _readings(answer, understood)):
            return Grade(True, f"{_read(answer)!s:.100} is {understood!s:.100}")
    return Grade(False, f"{_read(answer)!s:.100} is not {_read(golds[0])!s:.100}")


def settled(question: Question, answer: str) -> Grade | None:
    """What ``grade`` says, where that takes no algebra."""
    if len(answer) > AT_SIGHT_CHARS:
        return None
    golds = [gold for gold in question.answers if gold.strip()]
    plain = _plain(_read(answer)) and all(_plain(_read(gold)) for gold in golds)
    return grade(question, answer) if plain or _same_text(golds[0], answer) else None


def warm() -> None:
    """Have what the workers share: sympy imported, the grammar's tables built."""
    equal(read("\\frac{x+1}{2}"), read("2^{3}-\\sqrt{5}\\cdot 1"))


def _same_text(gold: str, answer: str) -> bool:
    return bool(text := cleaned(gold)) and text == cleaned(answer)


@lru_cache(maxsize=4096)
def _read(text: str) -> Form:
    return read(text)


def _readings(answer: str, gold: Form) -> list[Form]:
    """What ``answer`` may be: 81,256 is one number, and where two are asked for, two."""
    several = isinstance(gold, Several) and re.search(r"\d,\d{3}(?!\d)", answer)
    return [_read(answer), read(answer, grouped=False)] if several else [_read(answer)]


def _plain(form: Form) -> bool:
    """Whether it is no formula, nor has one in it."""
    match form:
        case Several(items) | Union(items):
            return all(map(_plain, items))
        case Matrix():
            return all(map(_plain, form.cells))
    return not isinstance(form, Formula)


def equal(gold: Form, answer: Form) -> bool:
    """Whether ``answer`` is what ``gold`` is."""
    if not (isinstance(gold, Several) and len(gold.items) == 1 and isinstance(answer, Several)):
        gold, answer = _only(gold), _only(answer)
    match gold, answer:
        case Number(), Number():
            return _close(gold, answer)
        case (Words(), Words()) | (Based(), Based()):
            return gold == answer and gold != Words("")
        case Clock(), Clock():
            return _minutes(gold) == _minutes(answer)
        case Based(), Number():
            return answer.text.lstrip("0") == gold.digits
        case Number(), Based(base=10):
            return gold.text == answer.digits
        case Union(parts), Union(others) | Several(others, ""):
            return _matched(parts, others)
        case Matrix(), Matrix():
            return len(gold.rows) == len(answer.rows) and _in_order(gold.cells, answer.cells)
        case Matrix(rows), Several(items) if 1 in (len(rows), len(rows[0])):
            return _in_order(gold.cells, items)
        case Several(), Several():
            return _several(gold, answer)
        case Number() | Words() | Formula(), Number() | Words() | Formula():
            return Formula in (type(gold), type(answer)) and _formulas(gold, answer)
    return False


def _only(form: Form) -> Form:
    """The one thing in brackets, where there is one: Python prints lists and sets of solutions."""
    if not isinstance(form, Several) or len(form.items) != 1:
        return form
    only = form.items[0]
    return form if isinstance(only, Several) and only.opened == form.opened == r"\{" else _only(only)


def _several(gold: Several, answer: Several) -> bool:
    asked, given = (KINDS_OF_BRACKETS.get(form.opened + form.closed, form.opened + form.closed) for form in (gold, answer))
    if asked in ("set", "none") and given in KINDS_OF_BRACKETS.values():
        return (_covered if asked == "set" else _matched)(gold.items, answer.items)
    # Of two numbers, square brackets are a closed interval and round ones an open one, or a point.
    alike = {asked, given} == {"round", "square"} and len(gold.items) != 2
    return (alike or asked == given or (asked, given) == ("round", "none")) and _in_order(gold.items, _by_name(answer.items))


def _by_name(items: Sequence[Form]) -> Sequence[Form]:
    """y = 1, x = 2 is the point (2, 1)."""
    names = [item.sides[0] for item in items if isinstance(item, Formula) and len(item.sides) > 1]
    if len(names) < len(items):
        return items
    return [item for _, item in sorted(zip(names, items, strict=True), key=lambda pair: pair[0])]


def _in_order(golds: Sequence[Form], answers: Sequence[Form]) -> bool:
    return len(golds) == len(answers) and all(map(equal, golds, answers))


def _matched(golds: Sequence[Form], answers: Sequence[Form]) -> bool:
    """Whether each gold has an answer of its own, in any order."""
    left = list(answers)
    for gold in golds:
        found = next((i for i, answer in enumerate(left) if equal(gold, answer)), None)
        if found is None:
            return False
        del left[found]
    return not left


def _covered(golds: Sequence[Form], answers: Sequence[Form]) -> bool:
    """Whether they are the same set, however often something is said."""
    return all(any(equal(gold, answer) for answer in answers) for gold in golds) and all(
        any(equal(gold, answer) for gold in golds) for answer in answers)


def _minutes(clock: Clock) -> tuple[int, int]:
    return (clock.hour % 12 + 12 * (clock.half == "pm") if clock.half else clock.hour), clock.minute


def _close(gold: Number, answer: Number) -> bool:
    """Equal, or as near as a computer's arithmetic comes."""
    apart = abs(gold.value - answer.value)
    if apart == 0 or gold.decimals is None:
        return apart == 0
    return apart <= tolerance(gold) or (answer.digits >= DOUBLE_DIGITS and apart <= NOISE * abs(gold.value))


def tolerance(gold: Number) -> Fraction:
    """What an answer may be away from a gold: half of its last digit where a computer rounded it, as GSM-Hard's, else nothing."""
    if not gold.decimals or (gold.decimals < FLOATS and gold.digits < DOUBLE_DIGITS):
        return Fraction(0)
    return max(Fraction(1, 2 * 10**gold.decimals), NOISE * abs(gold.value))


def _formulas(gold: Number | Words | Formula, answer: Number | Words | Formula) -> bool:
    if str(gold) == str(answer):
        return True
    first, second = _sides(gold), _sides(answer)
    if first is None and second is not None and len(second.sides) == 1:
        return gold == words(second.sides[0])
    if first is None or second is None or not _consistent(second):
        return False
    if len(first.sides) == 1 or (len(second.sides) == 1 and NAME.fullmatch(first.sides[0])):
        # One of them only: what follows the last "=" is the value, and what is before it, its name.
        if set(first.relations + second.relations) - {"="}:
            return False
        if second.relations and not NAMED.fullmatch(second.sides[0]) and _as_constant(second.sides[0]) is None:
            return False
        return _values(gold if isinstance(gold, Number) else first.sides[-1],
                       answer if isinstance(answer, Number) else second.sides[-1])
    if len(second.sides) == 1:
        return False
    if first.relations == ("=",) and set(second.relations) == {"="}:
        return _equations(first, Formula((second.sides[0], second.sides[-1]), ("=",)))
    return values.verified(str(first), str(second))


def _consistent(answer: Formula) -> bool:
    """Whether all numbers between which it has an equals sign are the last: 3 + 2 = 5, and not 4 = 5."""
    if set(answer.relations) != {"="}:
        return True
    constants = [side for side in answer.sides if _as_constant(side) is not None]
    return all(_values(_as_number(constants[-1]), side) for side in constants[:-1])


def _as_constant(side: str) -> Any:
    """Its value, if it is a number; None if it is not."""
    try:
        found = values.value(side)
    except values.Unreadable:
        return None
    return found if found.is_number else None


def _sides(form: Number | Words | Formula) -> Formula | None:
    """As a formula; words are one only if they are a single letter."""
    if isinstance(form, Formula):
        return form
    return Formula((form.text,)) if isinstance(form, Number) or len(form.text) == 1 else None


def _values(gold: Number | str, answer: Number | str) -> bool:
    gold, answer = (side if isinstance(side, Number) else _as_number(side) for side in (gold, answer))
    if isinstance(gold, Number) and isinstance(answer, Number):
        return _close(gold, answer)
    try:
        first, second = (values.number(side.value) if isinstance(side, Number) else values.value(side) for side in (gold, answer))
    except values.Unreadable:
        return isinstance(gold, str) and isinstance(answer, str) and words(gold) == words(answer)
    if isinstance(gold, Number) and (within := tolerance(gold)) and second.is_number and second.is_real:
        return bool(abs(first - second) <= values.number(within))
    return values.same(first, second)


def _as_number(text: str) -> Number | str:
    form = read(text)
    return form if isinstance(form, Number) else text


def _equations(gold: Formula, answer: Formula) -> bool:
    if NAME.fullmatch(gold.sides[0]) and gold.sides[0] == answer.sides[0]:
        return _values(gold.sides[1], answer.sides[1])
    try:
        first, second = (values.value(form.sides[0]) - values.value(form.sides[1]) for form in (gold, answer))
    except values.Unreadable:
        return False
    return values.proportional(first, second) or values.verified(str(gold), str(answer))
