"""What a mathematical answer is: a number, words, a time, digits in a base, several answers, a matrix, or a formula.

Only its outside is taken apart here; what a formula means, ``_mathvalues`` knows.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from smartad.grading import _mathpython
from smartad.grading._mathtext import PAIRS, cleaned, closing, split
from smartad.grading._mathunits import ANGLED, COUNTED, bare, scaled


@dataclass(frozen=True)
class Number:
    """A plain number: 12, -0.5, 3/4, 2,900, .175, 1 4/5."""

    value: Fraction
    decimals: int | None
    """Digits after its point, 0 without one; None of a fraction, which is exact."""
    digits: int
    """Significant ones, of a number that is no fraction."""
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Words:
    """Anything that is compared letter by letter: names, choices, sentences, and what is no formula that is known."""

    text: str
    """Prose in lower case and without articles; without punctuation and blanks at the ends."""

    def __str__(self) -> str:
        return repr(self.text)


@dataclass(frozen=True)
class Clock:
    """A time of day."""

    hour: int
    minute: int
    half: str
    """am or pm; empty: as on a clock of 24 hours, or nobody said."""

    def __str__(self) -> str:
        return f"{self.hour}:{self.minute:02} {self.half}".strip()


@dataclass(frozen=True)
class Based:
    """Digits in a base: 52_8."""

    digits: str
    base: int

    def __str__(self) -> str:
        return f"{self.digits}_{self.base}"


@dataclass(frozen=True)
class Several:
    """Things in brackets, or several answers without any: a set, a point, an interval, a list."""

    items: tuple["Form", ...]
    opened: str = ""
    closed: str = ""

    def __str__(self) -> str:
        return f"{self.opened}{', '.join(map(str, self.items))}{self.closed}"


@dataclass(frozen=True)
class Union:
    """Of intervals."""

    parts: tuple["Form", ...]

    def __str__(self) -> str:
        return " ∪ ".join(map(str, self.parts))


@dataclass(frozen=True)
class Matrix:
    """Rows of the same length."""

    rows: tuple[tuple["Form", ...], ...]

    @property
    def cells(self) -> tuple["Form", ...]:
        """Row by row."""
        return tuple(cell for row in self.rows for cell in row)

    def __str__(self) -> str:
        return f"[{'; '.join(' '.join(map(str, row)) for row in self.rows)}]"


@dataclass(frozen=True)
class Formula:
    """LaTeX, its sides apart where it is an equation or inequality."""

    sides: tuple[str, ...]
    relations: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.sides[0], *(f"{r} {s}" for r, s in zip(self.relations, self.sides[1:], strict=True))])


Form = Number | Words | Clock | Based | Several | Union | Matrix | Formula

DEEPEST = 30
"""Brackets in brackets, and the like."""
LONGEST = 5000
"""Characters; what is longer is words."""
MOST_DIGITS = 1000
"""Characters of a number; Python itself reads no more than 4,300 digits."""
GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
NUMBER = re.compile(r"([+-]?)\s*(?P<whole>\d*)(?P<point>\.\d*)?")
FRACTION = re.compile(r"(?P<sign>[+-]?)\s*(?P<whole>\d*)\s*(?:\\frac\s*(?:\{\s*(-?\d+)\s*\}|(\d))\s*(?:\{\s*(-?\d+)\s*\}|(\d))"
                      r"|(?<=[\s+-])(\d+)\s*/\s*(\d+)|(?<![\d\s])(\d+)\s*/\s*(\d+))")
EXPONENT = re.compile(r"([+-]?\d+(?:\.\d*)?)[eE]([+-]?\d{1,3})")
BASED = re.compile(r"(-?)(?:\\text\s*\{\s*)?([0-9A-Z]*\d[0-9A-Z]*)\s*\}?\s*_\s*"
                   r"(?:\{\s*(?:\\text\s*\{\s*)?(\d{1,2})\s*\}?\s*\}|(\d{1,2}))")
CLOCK = re.compile(r"(\d{1,2})(?:\s*:\s*(\d\d))?\s*(am|pm)?", re.IGNORECASE)
SENTENCE = re.compile(r"[^\W\d_]{4,}|(?=.*?[^\W\d_]{3})[^\W\d_]+(?:[\s'.-]+[^\W\d_]+)+\.?")  # x-axis, and not p - q
CHOICE = re.compile(r"(?:(?:option|choice)\s*)?\(?\s*([A-Za-z])\s*\)?\s*[.:)]?", re.IGNORECASE)
SAID = re.compile(r"yes|no|true|false|odd|none", re.IGNORECASE)
"""Words that are short enough to be products of unknowns, and never are."""
WHOLE_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
ARTICLES = re.compile(r"\b(?:a|an|the)\b(?=\s)")
PROSE = re.compile(r"(?=(?:.*?[^\W\d_]{2}){2})[^\W\d_]+(?:[\s,.'-]+[^\W\d_]+)+[.,;:?!]?|[^\W\d_]{3,}")
"""Names and sentences, and never a formula: in those case matters, and a is an unknown."""
COMMA = re.compile(r"\s*(?:[,;]|(?:,\s*)?(?:\\text\s*\{\s*(?:,\s*)?(?:and|or)\s*\}|(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])))\s*"
                   r"(?:(?:and|or)(?![a-zA-Z])|\\text\s*\{\s*(?:and|or)\s*\})?\s*")
CUP = re.compile(r"\s*(?:\\cup(?![a-zA-Z])|(?<=[)\]])\s*U(?=\s*[\[(]))\s*")
RELATION = re.compile(r"\s*(\\le(?![a-zA-Z])|\\ge(?![a-zA-Z])|<=|>=|<|>|=)\s*")
ABOUT = re.compile(r"\s*\\approx(?![a-zA-Z])\s*")
ENVIRONMENT = re.compile(r"\[?\s*\\begin\s*\{(?P<name>[pbB]?matrix|array)\}(?:\s*\{[clr|]*\})?(?P<body>.*)"
                         r"\\end\s*\{(?P=name)\}\s*\]?", re.DOTALL)
BUILDER = re.compile(r"\s*([a-zA-Z])\s*(?:\\in\s*\\mathbb\{R\})?\s*[|:]\s*(.*)", re.DOTALL)
MEMBER = re.compile(r"[a-zA-Z](?:\s*\\|\s+)in(?![a-zA-Z])\s*(?=[\[(\\])")
NAME = re.compile(r"(?:[a-zA-Z]|\\(?:alpha|beta|theta|lambda|angle\s*[A-Z]+))(?:_\{?\w+\}?)?"
                  r"(?:\s*\(\s*[a-z]\s*(?:,\s*[a-z]\s*)*\))?")
INFINITE = re.compile(r"(?<![a-zA-Z\\])(?:infinity|infty|inf|oo)(?![a-zA-Z])")



def read(text: str, grouped: bool = True) -> Form:
    """What ``text`` is.  ``grouped``: whether 81,256 is one number rather than two."""
    text = cleaned(text)
    if len(text) > LONGEST:
        return words(text)
    text = scaled(_ungrouped(text) if grouped else text)
    return _number(text) or _form(_mathpython.latex(text) or INFINITE.sub(r"\\infty ", text))


def words(text: str) -> Words:
    """``text`` to be compared as it is written."""
    text = re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text).strip()
    if PROSE.fullmatch(text) and not ANGLED.search(text):
        text = ARTICLES.sub("", text.casefold())
    text = re.sub(r"\s+", " ", re.sub(r"\s*([^\w\s])\s*", r"\1", text.replace("\\", " \\")))
    return Words(text.strip(' ,;:?"').rstrip(" .") if not text.endswith("..") else text)


def _ungrouped(text: str) -> str:
    """58500 for 58,500, but not in brackets: (20,100) are two numbers."""
    def joined(found: re.Match[str]) -> str:
        before = text[:found.start()]
        return found[0] if any(before.count(a) > before.count(b) for a, b in ("()", "[]", "{}")) else found[0].replace(",", "")

    return GROUPED.sub(joined, text)


def _form(text: str, depth: int = 0) -> Form:
    text = _unwrapped(text)
    if depth > DEEPEST:
        return words(text)
    inner = lambda part: _form(part, depth + 1)  # noqa: E731
    if simple := _simple(text):
        return simple
    if whole := WHOLE_TEXT.fullmatch(text):
        return inner(whole[1])
    if matrix := _matrix(text, depth):
        return matrix
    if text == r"\mathbb{R}" or re.fullmatch(r"(?:all )?real numbers", text):
        return Several((Formula((r"-\infty",)), Formula((r"\infty",))), "(", ")")
    if (member := MEMBER.match(text)) and text[member.end():]:
        return inner(text[member.end():])
    if len(parts := split(text, CUP)) > 1 and all(parts):
        return Union(tuple(inner(part) for part in parts))
    if len(parts := [part for part in split(text, COMMA) if part]) > 1:
        return Several(_flat([inner(part) for part in parts]))
    if bracketed := _bracketed(text, depth):
        return bracketed
    if len(parts := split(text, ABOUT)) == 2 and all(parts):
        return inner(parts[0])
    sides, relations = _sides(text)
    if not relations and r"\pm" in text and re.search(r"\\pm(?![a-zA-Z])", text):
        return Several(tuple(inner(re.sub(r"\\pm(?![a-zA-Z])", one, re.sub(r"\\mp(?![a-zA-Z])", other, text)))
                             for one, other in (("+", "-"), ("-", "+"))))
    if relations and (interval := _interval(sides, relations, depth)):
        return interval
    if relations == ("=",) and NAME.fullmatch(sides[0]) and not isinstance(inner(sides[1]), Formula | Number | Words):
        return inner(sides[1])
    return Formula(tuple(map(bare, sides)), relations) if _is_formula(bare(text)) else words(text)


def _simple(text: str) -> Form | None:
    """What needs no taking apart."""
    if based := BASED.fullmatch(text):
        digits, base = based[2], int(based[3] or based[4])
        if 2 <= base <= 36 and all(int(digit, 36) < base for digit in digits):
            return Based(based[1] + digits.lstrip("0"), base)
    clock = CLOCK.fullmatch(re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text).replace(".m", "m").replace("m.", "m"))
    if clock and (clock[3] or clock[2]):
        return Clock(int(clock[1]), int(clock[2] or 0), (clock[3] or "").lower())
    if SAID.fullmatch(text):
        return Words(text.casefold())
    if choice := CHOICE.fullmatch(text):
        return Words(choice[1].casefold())
    if number := _number(bare(text)):
        return number
    if (counted := COUNTED.fullmatch(text)) and (number := _number(counted[1])):
        return number
    return words(text) if SENTENCE.fullmatch(text) and not COMMA.search(text) and not ANGLED.search(text) else None


def _number(text: str) -> Number | None:
    text = text.strip()
    if len(text) > MOST_DIGITS:
        return None
    if (found := NUMBER.fullmatch(text)) and re.search(r"\d", text):
        whole, point = found["whole"], (found["point"] or "").removeprefix(".")
        value = Fraction(int(found[1] + (whole or "0") + point), 10 ** len(point))
        return Number(value, len(point), len((whole + point).lstrip("0")), text)
    if exponent := EXPONENT.fullmatch(text):
        value = Fraction(text)
        decimals = len(exponent[1].partition(".")[2]) - int(exponent[2])
        return Number(value, max(decimals, 0), len(exponent[1].strip("+-").replace(".", "").lstrip("0")), text)
    if found := FRACTION.fullmatch(text):
        over, under = [int(group) for group in found.groups()[2:] if group]
        if under and not (found["whole"] and (over < 0 or under < 0)):
            value = Fraction(int(found["whole"] or 0)) + Fraction(over, under)
            return Number(-value if found["sign"] == "-" else value, None, 0, text)
    return None


def _unwrapped(text: str) -> str:
    """Without braces and blanks around all of it, and without a full stop."""
    text = text.strip()
    text = text if text.endswith("..") else text.removesuffix(".").strip()
    while text.startswith("{") and closing(text, 0) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def _flat(forms: list[Form]) -> tuple[Form, ...]:
    """The items of what is several without brackets, and everything else."""
    return tuple(item for form in forms
                 for item in (form.items if isinstance(form, Several) and not form.opened else (form,)))


def _bracketed(text: str, depth: int) -> Form | None:
    curly = text.startswith(r"\{") and text.endswith(r"\}")
    body = text[2:-2] if curly else text[1:-1]
    if curly:
        if (builder := BUILDER.fullmatch(body)) and (sides := _sides(builder[2]))[1]:
            return _interval(*sides, depth) or words(text)
        if closing("{" + body.replace(r"\{", "{").replace(r"\}", "}") + "}", 0) is None:
            return None
    elif text[:1] not in PAIRS or text[:1] == "{" or closing(text, 0) != len(text) - 1:
        return None
    items = _flat([_form(part, depth + 1) for part in split(body, COMMA) if part])
    if not curly and len(items) == 1 and text[0] + text[-1] == "()":
        return items[0]
    if curly:
        return Several(items, r"\{", r"\}")
    opened = "(" if _infinite(items[:1]) else text[0]
    return Several(items, opened, ")" if _infinite(items[-1:]) else text[-1])


def _infinite(ends: tuple[Form, ...]) -> bool:
    """Whether an interval ends there in infinity, which is never in it, though sympy's may be written so."""
    return any(isinstance(end, Formula) and end.sides[0].strip("+- ") == r"\infty" for end in ends)


def _matrix(text: str, depth: int) -> Matrix | None:
    found = ENVIRONMENT.fullmatch(text)
    if not found:
        return None
    rows = tuple(tuple(_form(cell, depth + 1) for cell in split(row, re.compile("&")))
                 for row in re.split(r"\\\\(?:\[[^\]]*\])?", found["body"]) if row.strip())
    return Matrix(rows) if rows and len({len(row) for row in rows}) == 1 else None


def _sides(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The sides of an equation or inequality, and what is between them: = < \\le, never the other way round."""
    sides = split(text, RELATION)
    if len(sides) < 2 or not all(sides):
        return (text,), ()
    names = {"<=": r"\le", ">=": r"\ge"}
    turned = {">": "<", r"\ge": r"\le"}
    found, position = [], 0
    for side in sides[:-1]:
        position = text.index(side, position) + len(side)
        between = RELATION.match(text, position)
        found.append(names.get(between[1], between[1]) if between else "=")
    if set(found) <= set(turned):
        return tuple(sides[::-1]), tuple(turned[relation] for relation in found[::-1])
    return tuple(sides), tuple(found)


def _interval(sides: tuple[str, ...], relations: tuple[str, ...], depth: int) -> Several | None:
    """-2 <= x < 1 as [-2, 1); None where it is not about one unknown between numbers."""
    unknown = [i for i, side in enumerate(sides) if re.fullmatch("[a-zA-Z]", side)]
    if len(unknown) != 1 or len(sides) > 3 or not set(relations) <= {"<", r"\le"}:
        return None
    if any(re.search(r"(?<![a-zA-Z\\])[a-df-hj-zA-Z](?![a-zA-Z])", side) for i, side in enumerate(sides) if i not in unknown):
        return None
    where, strict = unknown[0], [relation == "<" for relation in relations]
    if len(sides) == 3 and where != 1:
        return None
    low = (sides[0], strict[0]) if where == 1 else (r"-\infty", True)
    high = (sides[-1], strict[-1]) if where < len(sides) - 1 else (r"\infty", True)
    ends = _form(low[0], depth + 1), _form(high[0], depth + 1)
    return Several(ends, "(" if low[1] else "[", ")" if high[1] else "]")


def _is_formula(text: str) -> bool:
    """Whether it may be one: no sentence, and no unknown characters."""
    plain = re.sub(r"\\[a-zA-Z]+|(?<![a-zA-Z])(?:sqrt|sin|cos|tan|log|ln|pi)(?![a-zA-Z])", " ", text)
    return not re.search(r"[a-zA-Z]{4,}|[^\x00-\x7f]|[\"'?@#`]|[a-zA-Z]{2,}\s+[a-zA-Z]{2,}", plain)
