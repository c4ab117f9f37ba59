"""Every gold of every file of questions, against itself and against the others of its file."""

import random

import pytest

from smartad import benchmarks, grading
from smartad.grading import qa_match

FILES = {"hotpotqa": 500, "musique": 500, "bamboogle": 125, "wiki2qa": 500, "hotpotqa_train": 1000}
SEED = 7


def questions_of(name, data):
    return benchmarks.get(name).load(data / benchmarks.get(name).SOURCE.file)


def verdicts(pairs):
    return [grade.correct for grade in grading.grade_all("qa_match", pairs, grading.Setup())[0]]


@pytest.mark.parametrize("name", FILES)
def test_every_gold_is_right_against_itself_however_it_is_written(real_data, name):
    questions = questions_of(name, real_data)
    golds = [(question, gold) for question in questions for gold in question.answers]
    assert len(questions) == FILES[name] and len(golds) >= len(questions), "no gold is missing in these files"
    for write in (str, str.lower, lambda gold: f"  The {gold}.\n"):
        assert set(verdicts([(question, write(gold)) for question, gold in golds])) == {True}


@pytest.mark.parametrize("name", FILES)
def test_gold_of_another_question_is_wrong(real_data, name):
    """Ten for each question, but those that are the same answer: `yes` and `Yes`."""
    questions, chance = questions_of(name, real_data), random.Random(SEED)
    others = [gold for question in questions for gold in question.answers]
    pairs = [(question, other) for question in questions for other in chance.sample(others, 10)
             if qa_match.normalise(other) not in map(qa_match.normalise, question.answers)]
    assert len(pairs) > 9 * len(questions) and set(verdicts(pairs)) == {False}


@pytest.mark.parametrize("name", FILES)
def test_gold_with_a_word_of_its_own_changed_is_wrong(real_data, name):
    """Near misses: the question's own gold without one of its words, or with another word after it."""
    questions, chance = questions_of(name, real_data), random.Random(SEED)
    pairs = []
    for question in questions:
        words = qa_match.normalise(question.answers[0]).split()
        gone = chance.randrange(len(words))
        shorter = " ".join(words[:gone] + words[gone + 1:])
        pairs += [(question, f"{question.answers[0]} too"), *([(question, shorter)] if shorter else [])]
    assert set(verdicts(pairs)) == {False}
