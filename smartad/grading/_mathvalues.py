"""What formulas mean: LaTeX -> sympy by latex2sympy2_extended, and whether two of them are the same.

Exact: decimals become fractions before anything is computed, and constants are compared by the value of their difference at more
digits than either of them was written with.
"""

import logging
import math
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

from smartad.grading._mathtext import closing

COMMANDS = frozenset(re.findall("[a-z]+", """
    frac sqrt pi infty cdot times div sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp binom circ
    alpha beta gamma delta theta lambda mu phi omega rho sigma tau epsilon lfloor rfloor lceil rceil triangle angle"""))
"""What a formula may be made of; integrals, sums and limits are questions, not answers."""
LONGEST = 1000
"""Characters."""
LARGEST_BITS = 200_000
"""Of a power that is worked out; what is larger is compared as it is written."""
POINTS = ((3, 7), (5, 3), (11, 13), (-7, 5), (-13, 11), (17, 2))
"""Where formulas with unknowns are evaluated: the first unknown is 3/7, the next a little more, and so on."""
MOST_DIGITS = 400
UNREAD = re.compile(rf"\d{{{MOST_DIGITS}}}|(?<![a-zA-Z])\d\s*_|\.\s*\.")
FUNCTION = re.compile(r"(?<![a-zA-Z\\])(arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|log|ln|exp|pi)(?![a-zA-Z])")


class Unreadable(ValueError):
    """Not a formula that is known here."""


@lru_cache(maxsize=4096)
def value(latex: str) -> Any:
    """``latex`` as a sympy expression.  Raises Unreadable."""
    plain = _plain(latex)
    if len(plain) > LONGEST or set(re.findall(r"\\([a-zA-Z]+)", plain)) - COMMANDS:
        raise Unreadable(latex)
    # Its parser drops what it does not understand: 5_2 and 5... were 5.
    if UNREAD.search(plain) or (r"\binom" in plain and re.search(r"\d{5}", plain)):
        raise Unreadable(latex)
    import sympy

    try:
        found = _parsed(plain)
        if not isinstance(found, sympy.Expr) or not _bounded(found):
            raise Unreadable(latex)
        units = {symbol: sympy.I for symbol in found.free_symbols if symbol.name == "i"}
        found = found.xreplace(units) if units else found
        return found.doit()
    except (ArithmeticError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise Unreadable(latex) from error
    except Exception as error:
        # Its parser raises bare exceptions at text that it does not understand.
        if type(error) is not Exception:
            raise
        raise Unreadable(latex) from error


def _parsed(plain: str) -> Any:
    from latex2sympy2_extended import latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig

    _quiet()
    return latex2sympy(plain, is_real=True, convert_degrees=False, normalization_config=None,
                       conversion_config=ConversionConfig(lowercase_symbols=False))


def _plain(latex: str) -> str:
    """In the spelling that latex2sympy reads: \\frac12 has its braces, decimals are fractions, ``*`` is ``\\cdot``."""
    from latex2sympy2_extended.math_normalization import NormalizationConfig, normalize_latex

    if len(latex) > LONGEST:
        raise Unreadable(latex)
    text = re.sub(r"(?<![a-zA-Z])(?:C|\\text\s*\{\s*C\s*\})_\{?(\w+)\}?\^\{?(\w+)\}?", r"\\binom{\1}{\2}", latex)
    text = re.sub(r"\\frac\s*(\\[a-z]+|\d)\s*(\\[a-z]+|[a-z\d])", r"\\frac{\1}{\2}", text)
    text = FUNCTION.sub(r"\\\1 ", _braced(text.replace("**", "^"))).replace("*", r" \cdot ")
    text = re.sub(r"\\[a-zA-Z]+|d", lambda found: r"\delta " if found[0] == "d" else found[0], text)  # no differential
    text = re.sub(r"\^\\circ", r" \\cdot \\frac{\\pi}{180}", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    # Before decimals are fractions: 2.5\sqrt{3} is a product, and 2\frac12 a mixed number.
    text = re.sub(r"(\d*)\.(\d+)", lambda found: rf"(\frac{{{int(found[1] + found[2])}}}{{{10 ** len(found[2])}}})", text)
    config = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none")
    text = normalize_latex(re.sub(r"\\sqrt\s+", r"\\sqrt ", text), config)
    return re.sub(r"\\frac\s*\{([^{}]*)\}\s*\{\s*([^{}]*)\s*\}", r"\\frac{\1}{\2}", text)


def _braced(text: str) -> str:
    """sqrt(2) and x^(1/2) with braces, as LaTeX has it."""
    while (found := re.search(r"\\?sqrt\s*(?=\()|(?<=\^)\s*(?=\()", text)) and (end := closing(text, found.end())):
        command = r"\sqrt" if "sqrt" in found[0] else ""
        text = f"{text[:found.start()]}{command}{{{text[found.end() + 1:end]}}}{text[end + 1:]}"
    return text


@lru_cache(maxsize=1)
def _quiet() -> None:
    """They warn of every text that they do not understand."""
    for name in ("math_verify", "latex2sympy2_extended"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _bounded(expression: Any) -> bool:
    """Whether it can be worked out in reasonable memory.  Nothing in it has been, so far."""
    import sympy

    for part in sympy.preorder_traversal(expression):
        if isinstance(part, sympy.Pow) and part.exp.is_number:
            size = _magnitude(part.exp)
            if size * (_bits(part.base) if part.base.is_number else 1.0) > LARGEST_BITS:
                return False
        if isinstance(part, sympy.factorial | sympy.binomial | sympy.gamma) and any(
                not arg.is_number or _magnitude(arg) > 2000 for arg in part.args):
            return False
        if isinstance(part, sympy.Integral | sympy.Sum | sympy.Product | sympy.Limit | sympy.Derivative):
            return False
    return True


def _bits(expression: Any) -> float:
    """An upper bound of the logarithm of its absolute value, to base 2 and at least 1."""
    import sympy

    if isinstance(expression, sympy.Pow):
        return max(1.0, _magnitude(expression.exp)) * _bits(expression.base)
    return math.log2(max(_magnitude(expression), 2.0))


def _magnitude(expression: Any) -> float:
    """An upper bound of its absolute value; infinite where there is none at hand."""
    import sympy

    if isinstance(expression, sympy.Rational):
        return float(min(max(abs(int(expression.p)), int(expression.q)), 10 ** 300))
    if isinstance(expression, sympy.Add):
        return sum(map(_magnitude, expression.args))
    if isinstance(expression, sympy.Mul):
        return math.prod(map(_magnitude, expression.args))
    if isinstance(expression, sympy.NumberSymbol):
        return 4.0
    if isinstance(expression, sympy.Pow):
        base, power = _magnitude(expression.base), _magnitude(expression.exp)
        return max(base, 1.0) ** power if power * math.log2(max(base, 2.0)) < 1000 else math.inf
    return math.inf if expression.args else 4.0


def same(gold: Any, answer: Any) -> bool:
    """Whether two expressions are equal, wherever both are real numbers."""
    if gold == answer:
        return True
    difference = gold - answer
    if not (gold.free_symbols or answer.free_symbols):
        return _zero(difference, gold)
    told = [_zero(difference.xreplace(point), gold.xreplace(point)) for point in _points(gold, answer)
            if _there(gold, point) and _there(answer, point)]
    return len(told) >= 3 and all(told)


def proportional(gold: Any, answer: Any) -> bool:
    """Whether one is the other times a number, as the sides of two equations of one plane are."""
    if not gold.free_symbols or gold.free_symbols != answer.free_symbols:
        return False
    ratios = []
    for point in _points(gold, answer):
        over, under = gold.xreplace(point), answer.xreplace(point)
        if not (_there(gold, point) and _there(answer, point)):
            continue
        if _zero(over, over) or _zero(under, under):
            if _zero(over, over) and _zero(under, under):
                continue
            return False
        ratios.append(over / under)
    return len(ratios) >= 3 and all(_zero(ratio - ratios[0], ratio) for ratio in ratios[1:])


def _points(*expressions: Any) -> list[dict[Any, Any]]:
    import sympy

    unknowns = sorted(set().union(*(e.free_symbols for e in expressions)), key=str)
    return [{unknown: sympy.Rational(over, under) + sympy.Rational(i * i + 2 * i, 7 + k) for i, unknown in enumerate(unknowns)}
            for k, (over, under) in enumerate(POINTS)]


def _there(expression: Any, point: dict[Any, Any]) -> bool:
    """Whether it has a value at ``point``; a complex one only if it is itself written with i: roots are of what is positive."""
    import sympy

    roots = [part for part in expression.atoms(sympy.Pow) if not part.exp.is_integer]
    if any(root.base.xreplace(point).is_negative for root in roots):
        return False
    number = sympy.N(expression.xreplace(point), 30)
    finite = bool(number.is_number) and not number.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo)
    return finite and (not number.has(sympy.I) or bool(expression.has(sympy.I)))


def _zero(difference: Any, scale: Any) -> bool:
    """Whether a constant is zero, next to another of the size of what was subtracted."""
    import sympy

    if difference.is_Rational:
        return bool(difference == 0)
    if not difference.is_number:
        return False  # a function nobody knows, of a number
    if difference.has(sympy.oo, -sympy.oo, sympy.nan, sympy.zoo):
        return bool(difference == 0)
    digits = 60 + max((len(str(n)) for n in difference.atoms(sympy.Integer)), default=0)
    number = abs(difference.evalf(digits, maxn=10 * digits))
    return bool(number < sympy.Float(10) ** -40 * max(1, abs(scale.evalf(15))))


def number(value_: Fraction) -> Any:
    """A fraction for sympy."""
    import sympy

    return sympy.Rational(value_.numerator, value_.denominator)


def verified(gold: str, answer: str) -> bool:
    """What math-verify says of two formulas, as for inequalities and equations that are solved differently."""
    import math_verify
    import sympy

    for side in (gold, answer):
        if set(re.findall(r"\\([a-zA-Z]+)", side)) - COMMANDS - {"le", "ge", "ne", "in"}:
            return False
    try:
        both = [_parsed(_plain(side)) for side in (gold, answer)]
    except MemoryError:
        raise
    except Exception:
        return False  # its parser raises bare exceptions
    if any(found in (sympy.true, sympy.false) for found in both):
        return False
    return bool(math_verify.verify(both[0], both[1], timeout_seconds=None))

