"""The same value in two writings is right, another value in any writing is wrong; made by rules that know no grader."""

import random
from fractions import Fraction

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from smartad.grading import get
from smartad.types import Question

pytestmark = pytest.mark.slow

strict = get("math_strict")
SMALL = st.integers(-40, 40)
NOT_ZERO = SMALL.filter(bool)
SQUAREFREE = st.sampled_from([2, 3, 5, 6, 7, 10, 13])


def integers(numbers):
    """12345 with and without its commas, as a float, over one."""
    [n] = numbers
    return [str(n), f"{n:,}", f"{n}.0", rf"\frac{{{2 * n}}}{{2}}", f"{n:,}".replace(",", r",\!"), f"${n}$",
            rf"{n}\text{{ cm}}^2"]


def fractions(numbers):
    """p/q in lowest terms or not, as a mixed number, and as a decimal, which is exact: q is 16."""
    [p] = numbers
    value = Fraction(2 * p + 1, 16)
    sign, (whole, rest) = "-" * (value < 0), divmod(abs(value.numerator), 16)
    mixed = rf"{sign}{whole}\frac{{{rest}}}{{16}}" if whole else rf"{sign}\frac{{{rest}}}{{16}}"
    return [str(value), rf"\dfrac{{{value.numerator}}}{{16}}", f"{3 * value.numerator}/48", mixed, str(float(value)),
            f"Fraction({value.numerator}, 16)"]


def surds(numbers):
    """a + b sqrt(c), in either order, with the factor outside or under the root."""
    a, b, c = numbers
    sign = "-" if b < 0 else "+"
    return [rf"{a}{sign}{abs(b)}\sqrt{{{c}}}", rf"{b}\sqrt{{{c}}}+({a})", rf"{a} {sign} \sqrt{{{b * b * c}}}",
            f"{a} + {b}*sqrt({c})", f"{b}*{c}**(1/2) + {a}", rf"\frac{{{2 * a}{sign}{2 * abs(b)}\sqrt{{{c}}}}}{{2}}"]


def points(numbers):
    """Of whole numbers; in Python's writing and in LaTeX's."""
    return [str(tuple(numbers)), rf"\left( {' , '.join(map(str, numbers))} \right)", f"({','.join(f'{n}.0' for n in numbers)})",
            f"Point({', '.join(map(str, numbers))})"]


def lists(numbers):
    """Several answers, in any order; no two of these are the same."""
    numbers = [100 * i + n for i, n in enumerate(numbers)]
    mixed = random.Random(sum(numbers)).sample(numbers, len(numbers))
    return [", ".join(map(str, numbers)), str(mixed), " and ".join(map(str, mixed)), rf"\{{{','.join(map(str, mixed))}\}}",
            "; ".join(f"{n}.0" for n in numbers), str(tuple(mixed))]


def sets(numbers):
    """In braces, and however often something is in them."""
    return [rf"\{{{','.join(map(str, numbers))}\}}", str(set(numbers)), str(numbers[::-1] + numbers[:1]),
            f"FiniteSet({', '.join(map(str, numbers))})"]


def intervals(numbers):
    """Half open; ends in order."""
    low, high = numbers[0], numbers[0] + abs(numbers[1]) + 1
    return [f"[{low}, {high})", rf"\left[{low},\frac{{{2 * high}}}{{2}}\right)", f"Interval.Ropen({low}, {high})",
            rf"x \in [{low},{high})", rf"{low} \le x < {high}", rf"{high} > x \ge {low}", rf"\{{x \mid {low} \leq x < {high}\}}"]


def matrices(numbers):
    """Two by two."""
    a, b, c, d = numbers
    return [rf"\begin{{pmatrix}} {a} & {b} \\ {c} & {d} \end{{pmatrix}}", rf"\begin{{bmatrix}}{a}&{b}\\{c}&{d}\end{{bmatrix}}",
            f"Matrix([[{a}, {b}], [{c}, {d}]])", f"[[{a}, {b}], [{c}, {d}]]", f"[[{a} {b}]\n [{c} {d}]]"]


def polynomials(numbers):
    """a x + b y + ab xy + 1, and the product it is."""
    a, b = numbers
    return [f"(1+{a}y)(1+{b}x)".replace("+-", "-"), f"{a}*{b}*x*y + {a}*y + {b}*x + 1",
            f"1 + {b}x + {a}y + {a * b}xy".replace("+ -", "- ")]


WRITINGS = {
    integers: st.tuples(st.integers(-10**9, 10**9)), fractions: st.tuples(SMALL), surds: st.tuples(SMALL, NOT_ZERO, SQUAREFREE),
    points: st.lists(SMALL, min_size=2, max_size=4), lists: st.lists(SMALL, min_size=2, max_size=5),
    sets: st.lists(SMALL, min_size=1, max_size=4, unique=True), intervals: st.tuples(SMALL, SMALL),
    matrices: st.tuples(SMALL, SMALL, SMALL, SMALL), polynomials: st.tuples(NOT_ZERO, NOT_ZERO)}
AS_GOLDS = {points: 2, lists: 1, sets: 1}
"""How many of the first writings say what they are by themselves: [1, 2] is several answers only where several are asked for."""
values = st.sampled_from(list(WRITINGS)).flatmap(lambda write: st.tuples(st.just(write), WRITINGS[write].map(list)))


def right(gold, answer):
    return strict.grade(Question("q/0", "?", (gold,)), answer).correct


def check_the_same(value, first, second, grade=right):
    write, numbers = value
    golds = answers = write(numbers)
    gold, answer = golds[first % AS_GOLDS.get(write, len(golds))], answers[second % len(answers)]
    assert grade(gold, answer) is True, (gold, answer)


def check_another(value, first, second, where, grade=right):
    """One of the numbers is one more, or a hundredfold; a set may then be the same, and is left alone."""
    write, numbers = value
    others = [n + 1 if i == where % len(numbers) else n for i, n in enumerate(numbers)]
    if write is surds and (where % 3 == 2 or 0 in others[1:]):
        others = [numbers[0] + 1, *numbers[1:]]
    if write is intervals:
        others = [numbers[0] + 1, numbers[1]]
    if write is polynomials and 0 in others:
        others = [n + 50 for n in numbers]
    golds, answers = write(numbers), write(others)
    gold, answer = golds[first % AS_GOLDS.get(write, len(golds))], answers[second % len(answers)]
    if not (write is sets and set(numbers) == set(others)):
        assert grade(gold, answer) is False, (gold, answer)


several = settings(max_examples=150, deadline=None)
some = settings(max_examples=3000, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
"""Until the first that is found out: nobody reads it, so it need not be the smallest.  The same in every run."""


@several
@given(values, st.integers(0, 20), st.integers(0, 20))
def test_strict_of_the_same_value_in_two_writings_is_right(value, first, second):
    check_the_same(value, first, second)


@several
@given(values, st.integers(0, 20), st.integers(0, 20), st.integers(0, 3))
def test_strict_of_another_value_is_wrong(value, first, second, where):
    check_another(value, first, second, where)


@pytest.mark.parametrize("broken", [
    lambda gold, answer: gold == answer,
    lambda gold, answer: right(gold, answer) and "sqrt" not in gold,
    lambda gold, answer: right(gold, answer.replace("-", "")),
    lambda gold, answer: right(gold.replace(")", "]"), answer.replace(")", "]"))])
def test_writings_find_out_a_grader_that_calls_right_answers_wrong(broken):
    @some
    @given(values, st.integers(0, 20), st.integers(0, 20))
    def run(value, first, second):
        check_the_same(value, first, second, broken)

    with pytest.raises(AssertionError):
        run()


@pytest.mark.parametrize("broken", [
    lambda gold, answer: True,
    lambda gold, answer: sorted(gold) == sorted(answer) or right(gold, answer) or len(gold) == len(answer),
    lambda gold, answer: right(gold, answer) or gold.count(",") == answer.count(",") > 0])
def test_writings_find_out_a_grader_that_calls_wrong_answers_right(broken):
    @some
    @given(values, st.integers(0, 20), st.integers(0, 20), st.integers(0, 3))
    def run(value, first, second, where):
        check_another(value, first, second, where, broken)

    with pytest.raises(AssertionError):
        run()
