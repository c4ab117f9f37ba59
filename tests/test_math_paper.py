r"""The papers' grader of mathematics, its faults included."""

import json
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smartad.grading import _bounded, get
from smartad.grading._expressions import python, read
from smartad.grading._paper_text import extracted, normalise, words_to_number
from smartad.types import Question

paper = get("math_paper")


def right(gold, answer):
    return paper.grade(Question("q/0", "?", (gold,)), answer).correct


RIGHT = [
    ("7", " 7 "), ("\\text{Evelyn}", "evelyn"), ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3,\\frac{\\pi}{2})"),
    ("B", "The answer is (B)."), ("13138980.0", "13138980"), ("1,200", "1200"), ("35.4", "35.4003"),
    ("12%", "0.12"),
    ("\\frac{1}{2}", "0.5"), ("0.5", "1/2"), ("\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}"),
    ("x^2+2x+1", "(x+1)^2"), ("5", "\\boxed{5}"),
    ("12", "so \\boxed{3} and then $\\boxed{12 \\text{ cm}}$."), ("5", "\\boxed{x=5}"), ("2", "\\boxed{two}"),
    ("30", "\\boxed{30^\\circ}"), ("\\frac{3}{4}", "\\boxed{3/4}"), ("\\frac{3}{4}", "\\boxed{\\dfrac34}"), ("5", "x=5"),
    ("x=5", "5"), ("y=2x+1", "2x+1=y"), ("x-y=2", "y-x=-2"), ("(1,2)", "[1.0, 2.0]"), ("\\frac{1}{3}", "0.33333"),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\boxed{\\begin{bmatrix}1\\\\2.0\\end{bmatrix}}"),
    ("{1,2}", "{2, 1}"), ("$17$", "17"), ("2*3", "(2)*3"),
]
FALSELY_RIGHT = [
    ("3^{2025}", "2^{2025}"), ("1112112_3", "1112122_3"), ("[0,9)", "(0,9)"), ("1,-2", "1"), ("033", "3300"), ("33", "0.33"),
    ("E", "E*2"), ("n=2, 3, 4", "n=1, 2, 3"), ("72768591", "72768391"),
]
WRONG = [("7", "8"), ("7", "70"), ("B", "A"), ("\\frac{1}{2}", "0.51"), ("x+1", "x+2"), ("(1,2)", "(1,3)"), ("(1,2)", "(1,2,3)"),
         ("x=5", "x=6"), ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1\\\\3\\end{pmatrix}"), ("7", "\\boxed{}"),
         ("7", "None"), ("7", "I do not know"), ("35.4", "35.5")]
FALSELY_WRONG = [
    ("30^\\circ", "30"), ("864 \\mbox{ inches}^2", "864"), ("x \\in [-2,7]", "[-2,7]"), ("2x+4y=6", "x+2y=3"),
    ("3 \\pm 2\\sqrt{2}", "3+2\\sqrt{2}, 3-2\\sqrt{2}"), ("2", "\x08oxed{2}"), ("\\frac{640}{3}\\pi", "670.2064327658225"),
]


@pytest.mark.parametrize(("gold", "answer", "correct"), [
    *((*pair, True) for pair in RIGHT + FALSELY_RIGHT), *((*pair, False) for pair in WRONG + FALSELY_WRONG)])
def test_paper_grades_as_the_papers_did_wrongly_where_they_did(gold, answer, correct):
    said = paper.grade(Question("q/0", "?", (gold,)), answer)
    assert said.correct is correct
    known = paper.settled(Question("q/0", "?", (gold,)), answer)
    assert known is None or known == said


@pytest.mark.parametrize(("answer", "text"), [
    ("plain \\dfrac12", "plain \\dfrac12"), ("\\boxed{\\dfrac12}", "\\frac{1}{2}"), ("\\boxed{\\sqrt2}", "\\sqrt{2}"),
    ("\\boxed{1} or \\boxed{\\frac{a}{b}}", "\\frac{}{b}"), ("\\boxed 9$ it is", "9"), ("\\boxed{3.0}", "3"),
    ("\\boxed{.5}", "0.5"),
    ("\\boxed{(-\\infty,\\infty)}", "\\mathbb{R}"), ("\\boxed{2j}", "2i"), ("\\boxed{12 apples and 3}", "123"),
    ("\\boxed{\\text{Evelyn}}", "Evelyn"), ("\\boxed{30\\%}", "30"), ("\\boxed{infinity}", "\\infty"), ("\\boxed{{1}", "{1}"),
    ("final answer is $5$. I hope it is \\boxed{6}", "5"), ("boxed", ""), ("\\boxed{\\left[1,2\\right)}", "[1,2)"),
    ("\\boxed{\\begin{array}{cc}1\\\\2\\end{array}}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"), ("\\boxed{k=3}", "3"),
    ("\\boxed{11,\\! 111}", "11,111"), ("\\boxed{-3/4.}", "\\frac{-3}{4}")])
def test_extracted_answer_is_the_last_box_in_the_papers_spelling(answer, text):
    assert extracted(answer) == text


@pytest.mark.parametrize(("words", "number"), [
    ("twenty-one", "21"), ("three hundred and five", "305"), ("two thousand and twelve", "2012"), ("the two roots", "2"),
    ("one million two hundred thousand", "1200000"), ("033", "33"), ("-5", "-5"), ("none", "none")])
def test_words_to_number_reads_them_as_word2number_does(words, number):
    assert words_to_number(words) == number


numbers = st.one_of(st.integers(-10**6, 10**6), st.decimals(-1000, 1000, places=3))


def reference(gold, answer, tolerance=Fraction(1, 10**4), factors=(1, 100, Fraction(1, 100))):
    """The rule for numbers, in fractions."""
    gold, answer = Fraction(gold), Fraction(answer)
    return any(abs(answer - f * gold) <= tolerance * max(abs(answer), abs(f * gold)) for f in factors)


near = st.tuples(numbers, st.sampled_from([1, 100, 0.01, 1.00005, 1.00011, 0.9995, 2]))


@settings(max_examples=200, deadline=None)
@given(pair=near)
@example(pair=(1000, 1.00011))
def test_paper_numbers_are_equal_exactly_where_fractions_say(pair):
    gold, factor = str(pair[0]), repr(float(pair[0]) * factor) if (factor := pair[1]) else ""
    edge = [reference(gold, factor, tolerance=Fraction(t, 10**9)) for t in (99_999, 100_001)]
    if edge[0] == edge[1]:
        assert right(gold, factor) is edge[0]


@pytest.mark.parametrize(("broken", "gold", "answer"), [
    ({"tolerance": Fraction(1, 10**3)}, "1000", "1000.5"), ({"factors": (1,)}, "33", "3300"), ({"tolerance": 0}, "48", "48.001")])
def test_paper_numbers_differ_from_a_broken_rule(broken, gold, answer):
    assert right(gold, answer) is reference(gold, answer) is not reference(gold, answer, **broken)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0123456789abdxy{}()[]\\,.=/^$ %", max_size=30))
def test_normalised_text_stays_as_it_is_but_for_what_comes_to_light(text):
    """Not idempotent, alas: what a step leaves may be what an earlier one looks for.  But it ends."""
    for _ in range(12):
        text, before = normalise(text), text
        if text == before:
            break
    assert normalise(text) == text


PAYLOADS = ["__import__('os').system('touch {}')", "open('{}', 'w')", "exec(\"open('{}', 'w')\")", "(lambda: open('{}', 'w'))()",
            "[open('{}', 'w') for _ in [1]]", "\\boxed{{open('{}', 'w')}}", "sqrt(open('{}', 'w'))", "f'{{open(\"{}\", \"w\")}}'",
            "x = open('{}', 'w')", "(1, open('{}', 'w'))", "$open('{}', 'w')$", "\\{{open('{}', 'w')\\}}",
            "Symbol('x', open('{}', 'w'))"]


@pytest.mark.slow
@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("gold", ["2", "(1,2)", "x=1", "\\begin{pmatrix}1\\end{pmatrix}", "?"])
def test_paper_runs_nothing_of_an_answer(payload, gold, tmp_path):
    file = tmp_path / "made"
    assert right(gold, payload.format(file)) is False
    assert not file.exists()


def test_payloads_would_run_where_sympy_evaluates_them(tmp_path):
    from sympy import sympify
    file = tmp_path / "made"
    try:
        sympify(PAYLOADS[1].format(file))
    except Exception as error:
        assert not isinstance(error, NameError)
    assert file.exists()


@pytest.mark.parametrize("text", ["1+True", "'a'", "x.y", "x[0]", "f(x)", "sqrt(*x)", "sqrt(x, evaluate=1)", "lambda: 1",
                                  "x if y else z", "[x for x in y]", "a and b", "1 < 2", "(x := 3)", "..."])
def test_python_reads_calculations_alone(text):
    with pytest.raises(ValueError, match="is no calculation"):
        python(text)


@pytest.mark.parametrize(("text", "value"), [
    ("2**3+1", "9"), ("(1, -2)", "(1, -2)"), ("7 // 2 + 7 % 2", "4"), ("0.5", "0.500000000000000"), ("sqrt(8)", "2*sqrt(2)"),
    ("pi", "pi"), ("[x, 1/3]", "[x, 1/3]")])
def test_python_reads_what_it_says(text, value):
    assert str(python(text)) == value


def test_read_of_what_nobody_can_read_is_the_text_itself():
    assert read("#?") == "#?"


HOSTILE = ["(((((10**10)**10)**10)**10)**10)**10", "9" * 10**6, "(" * 10**4 + ")" * 10**4, "\\frac{" * 10**4,
           "\\boxed{" + "\\text{" * 10**4 + "}", "\\frac{1}{2}" * 200, "(10**10**8)", "1000000!!", "10^{10^{10}}",
           "\x00", "\ud800"]


@pytest.mark.parametrize("answer", ["is " * 10_000, "the answer is " * 3000, "7 " * 2000, rf"\boxed{{{'7 ' * 2000}}}"])
def test_paper_reads_nothing_of_a_long_answer_but_the_letter(answer):
    assert right("7", answer) is False
    assert right("B", f"{answer} (B)") is ("boxed" not in answer)


@pytest.mark.slow
def test_paper_is_over_hostile_answers_and_grades_the_rest():
    question = Question("q/0", "?", ("x^2",))
    *hostile, good, bad = _bounded.grade_all(paper, [(question, answer) for answer in [*HOSTILE, "x*x", "2x"]], 2, cpu_s=0.5)
    assert all(grade.correct is not True for grade in hostile) and any(grade.correct is None for grade in hostile)
    assert (good.correct, bad.correct) == (True, False)


@pytest.mark.slow
def test_paper_says_what_the_predecessors_own_code_said(real_data):
    """Verdicts of Agent Distillation's scorer, in logs of a fork of it."""
    folder = real_data / "trajectories/ad_fork_qwen35"
    logged = []
    for name in ("student08b_math500_1row_scored", "student08b_math500_7rows_scored", "student08b_math_train_first3_scored"):
        rows = map(json.loads, (folder / f"{name}.jsonl").read_text().splitlines())
        logged += [(row["true_answer"], row["generated_answer"], row["score"]) for row in rows]
    rows = map(json.loads, (folder / "teacher27b_repair_attempts_39.jsonl").read_text().splitlines())
    logged += [(row["gold_answer"], row["original_generated_answer"], row["original_score"]) for row in rows]
    assert len(logged) == 50 and sum(score for _, _, score in logged) == 5
    assert [right(gold, str(answer)) for gold, answer, _ in logged] == [score for _, _, score in logged]
