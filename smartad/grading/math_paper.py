r"""Mathematics as the papers graded it: the rules of Agent Distillation's ``math_equal`` and ``extract_answer``, faults included.

Those are Qwen2.5-Math's (evaluation/grader.py and parser.py, MIT, on Hendrycks' MATH, ToRA and PRM800K), at
Nardien/agent-distillation 0f6cae3 (Apache-2.0).  An answer with a box is cut out of it and normalised; any other answer, and
the gold, stays as it is.  Then equal is: the same text; the letter that is wanted, named last; numbers within 1e-4 of each
other, of a hundredth or of a hundredfold; the same but for brackets; tuples, intervals and matrices whose parts are
equal; equations whose sides differ by the same; expressions that sympy finds equal, or within 1e-4, or matrices equal to 3
decimals.

It is lenient and, in places, strict without reason: docs/grading.md has examples.  It is for comparison with published
numbers; what counts is ``math_strict``.  Not as there:

- A second of wall clock was all that sympy had, so verdicts changed with the machine's load.  Here it has its CPU time
  (grading/_bounded.py), and what is not done by then is ungraded, not wrong.
- A crashed run without an answer was right where the gold was None, and a gold of None was the text "None".  Here no answer is
  wrong, and no gold cannot be graded.
- Of more than 1,000 characters it looks at the letter that is wanted, and at no more.
- It reads a text as Python's ``eval`` does where LaTeX fails, and with latex2sympy2 where that fails too.  Here nothing is
  evaluated, and the last reader is that one's successor (grading/_expressions.py).
"""

import re
from math import isclose
from typing import Any

from smartad.grading import Grade
from smartad.grading._paper_text import LONGEST, extracted
from smartad.types import Question

VERSION = 1
KINDS = ("math",)
BOUNDED = True
LIST = re.compile(r"[(\[].+[)\]]")
MATRIX = re.compile(r"\\begin\{[pb]matrix\}(.*)\\end\{[pb]matrix\}", re.DOTALL)


def grade(question: Question, answer: str) -> Grade:
    """Right when a rule finds ``answer`` equal to any of the accepted answers; the reason names the rule."""
    given, golds = extracted(answer), [gold for gold in question.answers if gold.strip()]
    for gold in golds:
        if rule := equal(given, gold):
            return Grade(True, f"{rule}: {gold!r:.100}")
    return Grade(False, f"{given!r:.100} is not {golds[0]!r:.100}")


def settled(question: Question, answer: str) -> Grade | None:
    """What ``grade`` says, where that takes no algebra."""
    given, golds = extracted(answer), [gold for gold in question.answers if gold.strip()]
    rules = [at_sight(given, gold) for gold in golds]
    return grade(question, answer) if rules[0] or all(rule == "" for rule in rules) else None


def warm() -> None:
    """Have what the workers share: sympy imported, the grammar's tables built."""
    equal("\\frac{x+1}{2}", "2^{3}-\\sqrt{5}\\cdot 1")


def equal(given: str, gold: str) -> str | None:
    """The rule by which they are equal; None, or "", when they are not."""
    rule = at_sight(given, gold)
    if rule is not None:
        return rule
    given, gold = given.strip(), gold.strip()
    if _without_brackets(given, gold):
        return "the same but for brackets"
    if LIST.match(given) and LIST.match(gold) and _equal_parts(given[1:-1].split(","), gold[1:-1].split(",")):
        return "equal part by part"
    rows, wanted = _rows(given), _rows(gold)
    if rows and wanted and len(rows) == len(wanted) and all(map(_equal_parts, rows, wanted)):
        return "equal entry by entry"
    if rule := _equal_equations(given, gold):
        return rule
    return "the same value" if same_value(given, gold) else None


def at_sight(given: str, gold: str) -> str | None:
    """The rule by which they are equal, "" when they are not, None when that takes more than a look."""
    if given.strip().lower() == gold.strip().lower():
        return "the same text"
    if gold in tuple("ABCDE") and re.findall(r"\b[A-E]\b", given.upper())[-1:] == [gold]:
        return "the letter"
    number, wanted = _number(given), _number(gold)
    if number is not None and wanted is not None:
        close = (factor for factor in (1.0, 0.01, 100.0) if _close(number, factor * wanted))
        return {1.0: "numbers within 1e-4", 0.01: "a hundredth", 100.0: "a hundredfold"}.get(next(close, 0.0), "")
    return None if 0 < len(given) <= LONGEST else ""


def _number(text: str) -> float | None:
    text = text.replace(",", "")
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(text.removesuffix("%").removesuffix("\\")) / 100 if text.endswith("%") else None
    except ValueError:
        return None


def _close(a: float, b: float) -> bool:
    return isclose(a, b, rel_tol=1e-4)


def _without_brackets(given: str, gold: str) -> bool:
    ends = given[:1] + given[-1:]
    if (ends == "[]" and gold[:1] != "(") or (ends == "()" and gold[:1] != "["):
        given, gold = given.strip("[]()"), gold.strip("[]()")
    # Of \left, \text and blanks in a gold the source that we could read says nothing; verdicts that its authors' code left in
    # logs do: Evelyn is \text{Evelyn} there, and (3,\frac{\pi}{2}) is \left( 3, \frac{\pi}{2} \right), but 30 is not 30^\circ.
    plain = re.sub(r"\\text\{(.*?)\}", r"\1", gold.replace("\\left", "").replace("\\right", "")).replace(" ", "")
    bare = str.maketrans("", "", "{}()")
    return given.translate(bare).lower() in (gold.translate(bare).lower(), plain.translate(bare).lower())


def _equal_parts(given: list[str], gold: list[str]) -> bool:
    return len(given) == len(gold) and all(map(equal, given, gold))


def _rows(text: str) -> list[list[str]]:
    matrix = MATRIX.fullmatch(text)
    return [line.strip().split("&") for line in matrix[1].split("\\\\") if line.strip()] if matrix else []


def _equal_equations(given: str, gold: str) -> str | None:
    if given.count("=") == 1 == gold.count("="):
        ours, theirs = (f"{left.strip()} - ({right.strip()})" for left, _, right in (given.partition("="), gold.partition("=")))
        return "the same equation" if same_value(ours, theirs) or same_value(f"-({ours})", theirs) else None
    for equation, other in ((given, gold), (gold, given)):
        left, _, right = equation.partition("=")
        if equation.count("=") == 1 and len(left.strip()) <= 2 and "=" not in other:
            return equal(right, other) if equation is given else equal(other, right)
    return None


def same_value(given: str, gold: str) -> bool:
    """Whether sympy finds them equal, or so near in value that a number would be."""
    from smartad.grading._expressions import read

    a, b = read(given), read(gold)
    # sympy evaluates a text that it is asked to compare with.
    algebra = () if isinstance(a, str) or isinstance(b, str) else (_equal_expressions, _equal_sides, _near, _equal_when_rounded)
    for check in (_identical, *algebra):
        try:
            if check(a, b):
                return True
        except MemoryError:
            raise
        except Exception:  # sympy raises whatever it likes where a question makes no sense to it
            continue
    return False


def _identical(a: Any, b: Any) -> bool:
    return str(a) == str(b) or bool(a == b)


def _equal_expressions(a: Any, b: Any) -> bool:
    from sympy import simplify

    return bool(a.equals(b)) or bool(simplify(a - b) == 0)


def _equal_sides(a: Any, b: Any) -> bool:
    return bool(abs(a.lhs - a.rhs).equals(abs(b.lhs - b.rhs)))


def _near(a: Any, b: Any) -> bool:
    from sympy import N

    return _close(float(N(a)), float(N(b)))


def _equal_when_rounded(a: Any, b: Any) -> bool:
    """Of matrices."""
    if a.shape != b.shape:
        return False
    ours, theirs = (matrix.applyfunc(lambda entry: round(entry, 3)) for matrix in (a, b))
    return bool(ours.equals(theirs))
