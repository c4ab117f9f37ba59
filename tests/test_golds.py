"""Every gold of every file of mathematics, by both graders: right against itself, and wrong answers wrong."""

import itertools
import random
import re
from fractions import Fraction

import pytest

from smartad import benchmarks, grading
from smartad.stage import Runtime

pytestmark = pytest.mark.slow
FILES = ("math500", "gsm_hard", "aime", "amc23", "gaokao", "olymmath", "math_hard", "math_medium")
GRADERS = ("math_strict", "math_paper")
SEED = 7
WRONG_EACH = 3
SAMPLED = {"math_strict": 4000, "math_paper": 300}
"""How many of the 11,127 wrong answers; all of them take a minute and four, which was done for the lists below."""

NOT_ITSELF: dict[str, dict[str, str]] = {"math_strict": {}, "math_paper": {}}
"""Question -> why a grader does not take its gold for its answer."""
TAKEN_FOR_RIGHT: dict[str, dict[tuple[str, str], str]] = {
    "math_strict": {("math500/23", "5"): "the gold is x=5, and x is a name for it"},
    "math_paper": {("math500/23", "5"): "as above", ("gaokao/190", "b > a > c"): "the gold is C, and the last letter a choice"},
}
"""(question, another gold of its file) -> why a grader takes it for right."""


@pytest.fixture(scope="module")
def questions(real_data):
    """File -> its questions that have a gold."""
    loaded = {}
    for name in FILES:
        module = benchmarks.get(name)
        loaded[name] = [q for q in module.load(real_data / module.SOURCE.file) if q.answers]
    return loaded


def verdicts(grader, pairs):
    grades, _ = grading.grade_all(grader, pairs, grading.Setup(runtime=Runtime(threads=2)))
    assert [(q.id, answer, grade.reason) for (q, answer), grade in zip(pairs, grades, strict=True) if grade.correct is None] == []
    return grades


@pytest.mark.parametrize("grader", GRADERS)
def test_golds_are_right_against_themselves_or_listed(questions, grader):
    pairs = [(q, q.answers[0]) for rows in questions.values() for q in rows]
    assert len(pairs) > 3700, "of 3,715 rows, six have no gold"
    failed = {q.id for (q, _), grade in zip(pairs, verdicts(grader, pairs), strict=True) if grade.correct is not True}
    assert failed == set(NOT_ITSELF[grader])


@pytest.mark.parametrize("grader", ["math_strict"])
def test_golds_written_otherwise_are_right_too(questions, grader):
    """As nobody compares by the letter: other blanks, delimiters and spellings of the same commands."""
    pairs = [(q, f"The answer is $\\boxed{{{otherwise(q.answers[0])}}}$.") for rows in questions.values() for q in rows]
    assert [(q.id, answer, grade.reason) for (q, answer), grade in zip(pairs, verdicts(grader, pairs), strict=True)
            if grade.correct is not True] == []


def otherwise(gold):
    """The same in another spelling."""
    gold = re.sub(r"\\d?frac(?=\s*\{)", r"\\tfrac", gold).replace("pmatrix", "bmatrix").replace("\\mbox", "\\text")
    gold = re.sub(r"\\(?:left|right)(?![a-zA-Z])\s*", "", gold)
    return re.sub(r"(?<=[^\s\\])([+=])(?=[^\s\\])", r" \1 ", gold)


@pytest.mark.parametrize("grader", GRADERS)
def test_golds_of_other_questions_are_wrong_or_listed(questions, grader):
    pairs = wrong_answers(questions)
    pairs = random.Random(SEED).sample(pairs, min(SAMPLED[grader], len(pairs)))
    grades = verdicts(grader, pairs)
    taken = {(q.id, wrong) for (q, wrong), grade in zip(pairs, grades, strict=True) if grade.correct is not False}
    assert taken == set(TAKEN_FOR_RIGHT[grader]) & {(q.id, wrong) for q, wrong in pairs}


def wrong_answers(questions):
    """Of each question, and of others of its file the golds."""
    rng, pairs = random.Random(SEED), []
    for rows in questions.values():
        for q in rows:
            others = (other.answers[0] for other in rng.sample(rows, len(rows)))
            wrong = (other for other in others if apart(q.answers[0], other))
            pairs += [(q, other) for other in itertools.islice(wrong, WRONG_EACH)]
    return pairs


def apart(gold, other):
    """Whether two golds cannot be the same, by a rule that knows no mathematics: other numbers are in them, or other letters.

    Plain numbers are compared by value, and what is near, or as near after x100 or /100, is left out: that is lenient and not
    a wrong answer of which one can be sure.
    """
    first, second = plain(gold), plain(other)
    if first is not None and second is not None:
        return all(abs(first - second * times) > abs(first) / 100 for times in (1, 100, Fraction(1, 100)))
    return signature(gold) != signature(other)


def plain(gold):
    text = re.sub(r"\\text\{[^}]*\}|\\[!$%]|\^\\circ|[,$ ]", "", gold)
    text = re.sub(r"\\[dt]?frac\{(-?\d+)\}\{(\d+)\}", r"\1/\2", text)
    return Fraction(text) if re.fullmatch(r"-?\d*\.?\d+(/[1-9]\d*)?", text) and not re.search(r"\..*/", text) else None


def signature(gold):
    unit = r"\\(?:text|mbox|textnormal)\{[^}]*\}|\\[a-z]+|\^\{?\\circ\}?|\\!"
    text = re.sub(unit, " ", gold) if re.search(r"\d", gold) else gold
    return sorted(re.findall(r"-?\d+|[a-zA-Z]", text.replace(" ", "")))
