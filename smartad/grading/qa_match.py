"""Exact match and F1 over words, by the official rules of HotpotQA (``hotpot_evaluate_v1.py`` of hotpotqa/hotpot).

Its normalisation is SQuAD's (``evaluate-v1.1.py``): lower case, without ASCII punctuation, articles and repeated blanks.  Other
dashes and quotes than ASCII's stay, so ``1939–45`` is not ``1939-45``.  Of several golds (aliases) each number takes its best, as
in MuSiQue's script.  We part from the official rules in one thing: where nothing is left of either side ("the" and "!"), they
match any two such texts, and we only those that are the same.
"""

import re
import string
from collections import Counter

from smartad.grading import Grade
from smartad.types import Question

VERSION = 1
KINDS = ("qa",)
SCORE = "f1"
ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
WHOLE = ("yes", "no", "noanswer")
"""Right or wrong as they are: who says more than that has said something else."""


def grade(question: Question, answer: str) -> Grade:
    """Right when ``answer`` is one of the golds but for what normalising takes away; ``score`` is its F1, from 0 to 1."""
    golds = [gold for gold in question.answers if gold.strip()]
    best = max(golds, key=lambda gold: (matches(answer, gold), f1(answer, gold)))
    score = max(f1(answer, gold) for gold in golds)
    if matches(answer, best):
        return Grade(True, f"matches {best!r}", score)
    return Grade(False, f"{normalise(answer)!r} is not {normalise(best)!r}, F1 {score:.2f}", score)


def matches(answer: str, gold: str) -> bool:
    """Exact match."""
    given, wanted = normalise(answer), normalise(gold)
    return given == wanted and (bool(wanted) or _plain(answer) == _plain(gold))


def f1(answer: str, gold: str) -> float:
    """The harmonic mean of precision and recall over words, counted as often as they occur; from 0 to 1."""
    given, wanted = normalise(answer), normalise(gold)
    if matches(answer, gold):
        return 1.0
    if given in WHOLE or wanted in WHOLE:
        return 0.0
    words, gold_words = Counter(given.split()), Counter(wanted.split())
    shared = (words & gold_words).total()
    return 2 * shared / (words.total() + gold_words.total()) if shared else 0.0


def normalise(text: str) -> str:
    """The form in which two answers are compared."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
