"""Several samples of a question: pass@k, and what is made of it in cells, intervals and comparisons."""

import math
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartad.config import ConfigError, load
from smartad.experiment import Experiment
from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Runtime
from smartad.stages.aggregate import AggregateConfig, run
from smartad.stages.grade import pass_at, summary
from smartad.stats import wilson
from smartad.sweep.stopping import Part, Race, Standing, StoppingConfig, course, wilcoxon
from smartad.tables import RunCells, as_csv, build
from smartad.types import Cell, Verdict


def by_trying(k, n, correct):
    """The share of all choices of k among n samples in which one is right."""
    choices = list(combinations([i < correct for i in range(n)], k))
    return Fraction(sum(map(any, choices)), len(choices))


def by_powers(k, n, correct):
    """What is often computed in its place: biased, since the same sample may be drawn twice."""
    return 1 - (1 - Fraction(correct, n)) ** k


@st.composite
def counts(draw):
    n = draw(st.integers(1, 9))
    return draw(st.integers(1, n)), n, draw(st.integers(0, n))


@given(counts())
def test_pass_at_k_is_the_share_of_choices_that_hold_a_right_sample(drawn):
    assert pass_at(*drawn) == float(by_trying(*drawn))


def test_biased_estimator_would_be_found_out():
    assert pass_at(2, 4, 2) == float(Fraction(5, 6)) == float(by_trying(2, 4, 2)) != float(by_powers(2, 4, 2))


@given(st.integers(1, 300), st.data())
def test_pass_at_k_is_the_papers_product(n, data):
    k, correct = data.draw(st.integers(1, n)), data.draw(st.integers(0, n))
    product = 1.0 if n - correct < k else 1.0 - math.prod(1.0 - k / i for i in range(n - correct + 1, n + 1))
    assert pass_at(k, n, correct) == pytest.approx(product, abs=1e-12)


@pytest.mark.parametrize("k", [0, 6])
def test_pass_at_k_of_fewer_samples_is_refused(k):
    with pytest.raises(ValueError, match=f"pass@{k} cannot be told from 5 samples"):
        pass_at(k, 5, 1)


def verdicts(*questions):
    """``questions``: of each, whether each sample is right (None: ungraded)."""
    return [Verdict(f"b/{i}", sample, correct, "code_tests/1", "") for i, samples in enumerate(questions)
            for sample, correct in enumerate(samples)]


def test_pass_at_1_of_equal_samples_is_the_share_of_right_attempts():
    found = summary(verdicts([True] * 5, [True, False, False, False, False], [False] * 5))
    assert found == {"correct": 6, "n": 15, "ungraded": 0, "questions": 3, "pass@1": pytest.approx(40.0),
                     "pass@2": pytest.approx(100 * (1 + 0.4 + 0) / 3), "pass@5": pytest.approx(200 / 3)}


def test_ungraded_samples_are_as_if_never_asked():
    found = summary(verdicts([True, None, None], [False, True, False], [None, None, None]))
    assert (found["correct"], found["n"], found["ungraded"], found["questions"]) == (2, 4, 5, 2)
    assert found["pass@1"] == pytest.approx(100 * (1 + 1 / 3) / 2), "questions weigh the same, however many samples were graded"
    assert found["pass@2"] == pytest.approx(100 * 2 / 3), "of the one question with two"


def test_one_sample_has_neither_questions_nor_pass_at_2():
    assert summary(verdicts([True], [False], [None])) == {"correct": 1, "n": 2, "ungraded": 1, "pass@1": 50.0}


def test_nothing_graded_is_not_measured():
    assert summary(verdicts([None, None])) == {"correct": 0, "n": 0, "ungraded": 2, "questions": 0, "pass@1": None,
                                               "pass@2": None}


@pytest.fixture
def cell(tmp_path):
    """Of three questions, each asked twice; one sample is ungraded."""
    (tmp_path / "grade-1").mkdir()
    (tmp_path / "out").mkdir()
    write_jsonl(tmp_path / "grade-1" / "verdicts.jsonl", verdicts([True, True], [True, None], [False, False]))
    metrics = run(AggregateConfig(), {"b": tmp_path / "grade-1"}, tmp_path / "out", Runtime())
    assert metrics == {"pass@1/b": pytest.approx(200 / 3), "pass@2/b": 50.0, "avg": pytest.approx(200 / 3)}
    [found] = read_jsonl(tmp_path / "out" / "cells.jsonl", Cell)
    return found


def test_cell_of_several_samples_says_how_many_questions_it_is_of(cell):
    assert (cell.correct, cell.n, cell.ungraded, cell.questions) == (3, 5, 1, 3)
    assert cell.percent == pytest.approx(200 / 3) != 100 * cell.correct / cell.n
    assert cell.draws == (pytest.approx(2.0), 3)


def test_cell_of_one_sample_is_what_it_was():
    assert Cell("b", 3, 5, 0, "g").percent == 60.0 and Cell("b", 3, 5, 0, "g").draws == (3, 5)
    assert Cell("b", 0, 0, 5, "g").percent is None


def test_interval_is_that_of_questions_and_not_of_attempts():
    several = Cell("b", 410, 820, 0, "g", questions=164, mean=50.0)
    assert wilson(*several.draws) == wilson(82, 164) and wilson(82, 164)[0] < wilson(410, 820)[0]


def test_table_shows_attempts_and_questions(cell):
    table = build("t", {"": ["b"]}, {"row": [RunCells({"b": cell})]})
    assert table.header("b") == "b (n=5 of 3 questions)" and table.text("row", "b") == "66.7 [1 ungraded]"
    header, line = as_csv(table, {"row": [RunCells({"b": cell})]}, {"row": [0]}).splitlines()
    assert dict(zip(header.split(","), line.split(","), strict=True)).items() >= {
        "row": "row", "seed": "0", "group": "", "benchmark": "b", "correct": "3", "n": "5", "questions": "3", "ungraded": "1",
        "pass@1": "66.6667", "source": "grade-1", "note": "", "grader": "code_tests/1"}.items()


@pytest.mark.parametrize(("settings", "words"), [
    (["evaluate.samples=5"], r"evaluate\.samples=5: at temperature 0 they are all the same; set evaluate\.temperature"),
    (["evaluate.samples=0"], r"evaluate\.samples must be at least 1, got 0"),
])
def test_samples_without_sense_are_refused_at_the_desk(settings, words):
    with pytest.raises(ConfigError, match=words):
        load(Experiment, settings)


def test_early_stopping_compares_questions_and_not_attempts(store):
    (store.root / "grade-1").mkdir()
    write_jsonl(store.root / "grade-1" / "verdicts.jsonl", verdicts([True, False, None], [False] * 3, [True] * 3, [None] * 3))
    compared = course(StoppingConfig("wilcoxon"), "avg", 1, [0], ["b", "c"])
    assert Race(compared, store).verdicts("grade-1") == {"b/0": 0.5, "b/1": 0.0, "b/2": 1.0}

    def standing(label, share):
        return Standing(label, lambda part: {f"b/{i}": share for i in range(40)}, {Part(0, "b"): 100 * share}, done=True)

    assert wilcoxon(compared, standing("mine", 0.4), [standing("best", 0.6)]).p == 0.5**40
