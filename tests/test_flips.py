"""Who flipped: which questions, where two attempts part, and both of them on the screen, where nothing they say is obeyed."""

import csv
import dataclasses
import io
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answered_sweeps import answer, attempt, declare
from command import all_of, on_a_terminal
from smartad.analysis.arms import arm
from smartad.analysis.compare import runs_of
from smartad.analysis.flips import both, parts_at
from smartad.cli.arguments import parse
from smartad.cli.comparing import compare_command
from smartad.store import Store
from smartad.types import Step, Trajectory, UserError

HOSTILE = "I look.\x1b]0;mine\x07\n\u202efinal \x1b[2J"
RIGHT = {"base": {0, 1}, "min": {0, 1, 2, 3}, "max": {1, 2, 5}}
texts = st.lists(st.sampled_from(["a", "a ", "a\n", "b"]), max_size=5)


def right(label, seed, benchmark, number):
    """Seed 1 of max has question 2 wrong, too; nobody has a verdict on 7."""
    return None if number == 7 else number in RIGHT[label] and (label, seed, number) != ("max", 1, 2)


def thinking(question, correct):
    """Those that are right think otherwise; question 5 is thought of in control characters, and its wrong answer is hostile."""
    if not question.endswith("/5"):
        return attempt(question, correct, f"I know {bool(correct)}.")
    made = attempt(question, correct, f"I know.{HOSTILE}")
    return made if correct else dataclasses.replace(made, answer="=cmd|'/c x'!A1\x1b]0;mine\x07")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The store of a finished sweep of base, min and max with two seeds."""
    folder = tmp_path_factory.mktemp("flips")
    store = Store(folder / "store").open()
    answer(store, *declare(store, folder, seeds=[0, 1]), right, attempts=thinking)
    return store


@pytest.fixture
def said(finished, capsys):
    """Run the command in this process: what it prints."""
    def run(*words):
        assert compare_command(parse(["compare", *words, "--store", str(finished.root)])) == 0
        return capsys.readouterr().out
    return run


def runs(store, a="declared:min", b="declared:max"):
    return runs_of(store, arm(store, a), arm(store, b))


def flips(*words):
    """Those that are fixed or broken."""
    return [one for one in both(*words) if one.kind in ("fixed", "broken")]


def trajectory(*written):
    return Trajectory("q/1", 0, tuple(Step(text, "", "", "ok") for text in written), None, "answered", None, None)


@settings(deadline=None)
@given(texts, texts)
def test_attempts_part_at_the_first_step_whose_text_is_not_the_same(one, other):
    found = parts_at(trajectory(*one), trajectory(*other))
    if found is None:
        assert one == other
    else:
        assert one[:found] == other[:found] and one[found:found + 1] != other[found:found + 1]


def test_attempts_that_differ_in_white_space_part_there_and_equal_ones_nowhere():
    assert parts_at(trajectory("a", "b"), trajectory("a", "b ")) == 1
    assert parts_at(trajectory("a"), trajectory("a", "b")) == 1
    assert parts_at(trajectory("a"), trajectory("a")) is None


@pytest.mark.slow
def test_flips_are_what_one_has_right_and_the_other_wrong(finished):
    (a, b), (c, d) = runs(finished)
    found = [(flip.question.id, flip.kind, flip.parts_at) for flip in flips(finished, a, b, "toy_math")]
    assert found == [("toy_math/0", "broken", 0), ("toy_math/3", "broken", 0), ("toy_math/5", "fixed", 1)]
    assert [flip.question.id for flip in flips(finished, c, d, "toy_math")] == [f"toy_math/{n}" for n in (0, 2, 3, 5)]
    mirrored = [(flip.question.id, flip.kind) for flip in flips(finished, b, a, "toy_math")]
    assert mirrored == [("toy_math/0", "fixed"), ("toy_math/3", "fixed"), ("toy_math/5", "broken")]


@pytest.mark.slow
def test_pair_holds_both_attempts_with_their_verdicts_and_no_verdict_is_no_flip(finished):
    every = {flip.question.id: flip for flip in both(finished, *runs(finished)[0], "toy_math")}
    assert len(every) == 20 and every["toy_math/7"].kind == "ungraded" and every["toy_math/9"].kind == "same"
    flip = every["toy_math/3"]
    assert [one.answer for one in flip.attempts] == ["42", "41"] and [one.correct for one in flip.verdicts] == [True, False]


@pytest.mark.slow
def test_run_that_has_not_finished_the_benchmark_has_no_flips(finished, tmp_path):
    store = Store(tmp_path / "store").open()
    book, _ = declare(store, tmp_path)
    with pytest.raises(UserError, match="toy_math is not finished with seed 0"):
        flips(store, book.trials[0].runs[0], book.trials[1].runs[0], "toy_math")


@pytest.mark.slow
def test_list_groups_seeds_and_puts_those_that_flip_with_every_seed_first(said):
    printed = said("declared:min", "max", "--flips", "toy_math")
    assert "toy_math: 2 fixed, 5 broken of 38 compared over seeds 0, 1; 2 not graded in one of them" in printed
    assert "toy_qa3" not in printed
    questions = [line.split(" | ")[:3] for line in printed.splitlines() if line.startswith("| toy_math/")]
    assert questions == [["| toy_math/0", "broken", "0, 1"], ["| toy_math/3", "broken", "0, 1"],
                         ["| toy_math/5", "fixed", "0, 1"], ["| toy_math/2", "broken", "1"]]
    assert "toy_qa3: 2 fixed, 5 broken" in said("declared:min", "max", "--flips")


@pytest.mark.slow
def test_list_as_csv_has_a_line_for_each_pair_of_runs(said):
    lines = list(csv.DictReader(io.StringIO(said("declared:base", "min", "--flips", "toy_qa3", "--format", "csv"))))
    assert [(line["question"], line["flip"], line["seed_a"], line["seed_b"]) for line in lines] == [
        (f"toy_qa3/{n}", "fixed", "0", seed) for seed in "01" for n in (2, 3)]
    assert (lines[0]["part_at_step"], lines[0]["answer_a"], lines[0]["answer_b"]) == ("1", "41", "42")


@pytest.mark.slow
def test_answer_in_csv_is_no_formula_and_reaches_no_terminal(said):
    lines = list(csv.DictReader(io.StringIO(said("declared:min", "max", "--flips", "toy_math", "--format", "csv"))))
    assert [line["answer_a"] for line in lines if line["question"] == "toy_math/5"] == ["'=cmd|'/c x'!A1\\x1b]0;mine\\x07"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("asked", [["--flips"], ["--flips", "toy_math", "--format", "csv"], ["--question", "toy_math/2"]])
def test_flips_of_other_graders_or_other_questions_are_refused(finished, tmp_path, asked, capsys):
    store = Store(shutil.copytree(finished.root, tmp_path / "store"))
    strict = {"strict": {"evaluate.max_steps": 3}}
    answer(store, *declare(store, tmp_path, "strict", seeds=[0], arms=strict), lambda *_: True, by="strict/2")
    few = {"few": {"limits.questions": 20, "select.rule": "random"}}
    answer(store, *declare(store, tmp_path, "few", seeds=[0], arms=few), lambda *_: True, text="What is 7 times 6?")
    for other, message in (("strict:strict", "is graded by exact/1, strict:strict by strict/2"), ("few:few", "0 of them are")):
        with pytest.raises(UserError, match=message):
            compare_command(parse(["compare", "declared:min", other, *asked, "--store", str(store.root)]))
    capsys.readouterr()


@pytest.mark.slow
def test_question_shows_both_attempts_side_by_side_and_where_they_part(said):
    printed = said("declared:min", "max", "--question", "toy_math/2")
    assert "What is 6 times 7?" in printed and "gold: 42" in printed
    first, second = printed.split("seed 1:")
    assert "seed 0: same, the same text in both" in first and "part" not in first.split("seed 0:")[1].replace("same text", "")
    assert second.startswith(" broken, they part at step 1\n")
    row = next(line for line in second.splitlines() if line.startswith("1 ok"))
    assert row.count("<- here they part") == 2 and row.count("1 ok") == 2
    assert "A, right (exact/1: as made up for toy_math/2)" in second and "B, wrong" in second
    assert "Thought: I know True." in second and "Thought: I know False." in second and "answer: 41" in second


@pytest.mark.slow
def test_question_of_hostile_text_is_shown_and_not_obeyed(said):
    printed = said("declared:min", "max", "--question", "toy_math/5")
    assert "\x1b]0" not in printed and "\x1b[2J" not in printed and "\u202e" not in printed and "\x07" not in printed
    assert "\\x1b]0;mine\\x07" in printed and "\\u202efinal" in printed


@pytest.mark.slow
def test_question_on_a_narrow_terminal_is_shown_one_after_the_other(finished):
    process, screen = on_a_terminal("compare", "declared:min", "max", "--question", "toy_math/2", store=finished, columns=80)
    printed = all_of(screen)
    assert process.wait() == 0 and max(map(len, printed.splitlines())) <= 80
    lines = printed.splitlines()
    by = "(exact/1: as made up for toy_math/2)"
    assert lines.index(f"B, wrong {by}") > lines.index(f"A, right {by}")
    assert lines.count("1 ok  <- here they part") == 2, "of the seed with which they part, once in each attempt"


@pytest.mark.slow
@pytest.mark.parametrize(("words", "message"), [
    (["--flips", "aime"], "no such benchmark in common; they have toy_math, toy_qa3"),
    (["--question", "aime/1"], "begins with no benchmark"),
    (["--question", "toy_math/99"], "not both were asked it; one they were is toy_math/0")])
def test_what_is_not_there_is_named(said, words, message):
    with pytest.raises(UserError, match=message):
        said("declared:min", "max", *words)
