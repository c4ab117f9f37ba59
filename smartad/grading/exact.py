"""Exact match after normalisation: for the toy world, and a plain baseline on real questions.

Both sides lose case, surrounding quotes and ``$``, one ``\\boxed{}``, a final full stop and repeated blanks; answers in plain
words lose their articles; plain decimal numbers are compared as numbers (12 = 12.0, 1,200 = 1200, but not 1,2 = 12).
Nothing symbolic, no tolerance.
"""

import re
from decimal import Decimal

from smartad.grading import Grade
from smartad.types import Question

VERSION = 1
KINDS = ("exact", "math", "qa")
WORD = re.compile(r"[^\W\d_]+[.,]?|[^\W\d_]+['’-][^\W\d_]+")
NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?")


def grade(question: Question, answer: str) -> Grade:
    """Right when ``answer`` normalises to any of the accepted answers."""
    golds = [gold for gold in question.answers if gold.strip()]
    given = normalise(answer)
    match = next((gold for gold in golds if normalise(gold) == given), None)
    return Grade(True, f"matches {match!r}") if match is not None else Grade(False, f"{given!r} is not {normalise(golds[0])!r}")


def normalise(text: str) -> str | Decimal:
    """The form in which two answers are compared."""
    text = " ".join(text.split()).strip("\"'").strip()
    text = text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == "$" else text
    boxed = re.fullmatch(r"\\boxed\{(.*)\}", text)
    text = (boxed[1] if boxed else text).removesuffix(".").strip()
    if NUMBER.fullmatch(text):
        return Decimal(text.replace(",", ""))
    words = text.lower().split()
    if len(words) > 1 and all(WORD.fullmatch(word) for word in words):
        words = [word for word in words if word not in ("a", "an", "the")]
    return " ".join(words)
