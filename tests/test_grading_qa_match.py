"""Exact match and F1 of answers to questions, against the official script's rules written another way."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartad import grading
from smartad.grading import qa_match
from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Runtime
from smartad.stages import aggregate
from smartad.stages.grade import GradeConfig, Graders, config_for, run
from smartad.types import Question, Trajectory, Verdict

ASCII_PUNCTUATION = [chr(n) for n in range(33, 127) if not chr(n).isalnum()]


def grade(answer, *golds):
    [found], _ = grading.grade_all("qa_match", [(Question("q", "?", golds), answer)], grading.Setup())
    return found


def official_words(text):
    """hotpot_evaluate_v1.py's normalize_answer, as a list of words: character by character, and no pattern."""
    kept = [character for character in text.lower() if character not in ASCII_PUNCTUATION]
    runs, word = [], ""
    for character in [*kept, " "]:  # \\b stands where what is part of a word meets what is not
        of_words = character.isalnum() or character == "_"
        if word and (word[-1].isalnum() or word[-1] == "_") != of_words:
            runs.append(" " if word in ("a", "an", "the") else word)
            word = ""
        word += character
    return "".join([*runs, word]).split()


def official(answer, gold, special=("yes", "no", "noanswer")):
    """(exact match, F1) by the script, but for two texts of which nothing is left."""
    given, wanted = official_words(answer), official_words(gold)
    if not given and not wanted:
        same = answer.lower().split() == gold.lower().split()
        return same, float(same)
    if given != wanted and (" ".join(given) in special or " ".join(wanted) in special):
        return False, 0.0
    left, shared = list(wanted), 0
    for word in given:
        if word in left:
            left.remove(word)
            shared += 1
    if shared == 0:
        return False, 0.0
    precision, recall = shared / len(given), shared / len(wanted)
    return given == wanted, 2 * precision * recall / (precision + recall)


words = st.sampled_from(["yes", "no", "noanswer", "The", "a", "an", "theatre", "Denver", "denver.", "St.", "O'Brien", "1939", "–",
                         "1939–45", "1939-45", "“Yes”", "yes!", "new-york", "York", "_", "é", "!", "co.", "Straße", "İ"])
texts = st.lists(words, min_size=1, max_size=5).map(" ".join) | st.text(max_size=12)


@settings(max_examples=250, deadline=None)
@given(answer=texts, golds=st.lists(texts, min_size=1, max_size=3))
def test_qa_match_of_any_texts_is_what_the_official_script_says_of_the_best_gold(answer, golds):
    said = qa_match.grade(Question("q", "?", (*golds, "Denver")), answer)
    expected = [official(answer, gold) for gold in (*golds, "Denver") if gold.strip()]
    assert said.correct is any(exact for exact, _ in expected)
    assert math.isclose(said.score, max(score for _, score in expected), abs_tol=1e-12)
    assert said.reason


@pytest.mark.parametrize("answer, gold, broken", [
    ("yes Denver", "yes", {"special": ()}), ("no", "yes no", {"special": ()}), ("noanswer", "noanswer given", {"special": ()})])
def test_reference_without_the_rule_for_yes_and_no_would_be_told_apart(answer, gold, broken):
    assert official(answer, gold)[1] == grade(answer, gold).score == 0.0 < official(answer, gold, **broken)[1]


@pytest.mark.parametrize("answer, gold, correct, f1", [
    ("The Denver.", "denver", True, 1.0), ("Denver,  Colorado", "Denver", False, 2 / 3), ("a a b", "a b", True, 1.0),
    ("x x y", "x y", False, 0.8), ("yes", "Yes.", True, 1.0), ("yes, it is", "yes", False, 0.0), ("yes", "it is yes", False, 0.0),
    ("1939-45", "1939–45", False, 0.0), ("O'Brien", "OBrien", True, 1.0), ("the", "!", False, 0.0), ("The", "the", True, 1.0),
    ("nobody", "Denver", False, 0.0)])
def test_qa_match_knows_what_is_the_same_and_how_much_is_shared(answer, gold, correct, f1):
    assert (grade(answer, gold).correct, grade(answer, gold).score) == (correct, pytest.approx(f1))


def test_alias_makes_an_answer_right_and_the_best_of_each_number_counts():
    assert grade("JFK", "John F. Kennedy", "JFK").correct
    other = grade("President Kennedy", "JFK", "John F. Kennedy", "Kennedy")
    assert not other.correct and other.score == pytest.approx(2 / 3) and "not 'kennedy', F1 0.67" in other.reason


@pytest.mark.parametrize("answer", [None, "", " \n"])
def test_no_answer_has_a_score_of_zero_so_that_silence_raises_no_mean(answer):
    assert grade(answer, "Denver") == grading.Grade(False, "no answer", 0.0)
    assert grade(answer) == grading.Grade(None, "no gold answer")


def test_f1_is_called_so_in_the_record_of_a_grade_and_of_a_row(tmp_path):
    answers = ["Denver", "Denver Colorado", None, "nobody"]
    write_jsonl(tmp_path / "questions.jsonl", [Question(f"b/{i}", "?", ("Denver",)) for i in range(4)])
    write_jsonl(tmp_path / "trajectories.jsonl", [Trajectory(f"b/{i}", 0, (), a, "answered", None, 0.0)
                                                  for i, a in enumerate(answers)])
    config = config_for(Graders(), {"b": "qa"})
    assert config == GradeConfig({"b": "qa_match/1"})
    metrics = run(config, {"questions/b": tmp_path, "attempts": tmp_path}, tmp_path, Runtime())
    assert metrics == {"correct": 1, "n": 4, "ungraded": 0, "pass@1": 25.0, "f1": pytest.approx(100 * (1 + 2 / 3) / 4)}
    assert [v.score for v in read_jsonl(tmp_path / "verdicts.jsonl", Verdict)] == [1.0, pytest.approx(2 / 3), 0.0, 0.0]
    row = aggregate.run(aggregate.AggregateConfig(), {"b": tmp_path, "b@qa_match": tmp_path}, tmp_path, Runtime())
    f1 = metrics["f1"]
    assert row == {"pass@1/b": 25.0, "pass@1/b@qa_match": 25.0, "f1/b": f1, "f1/b@qa_match": f1, "avg": 25.0}
