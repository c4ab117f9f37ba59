"""Chains of thought: one request, one step, and the answer that it states."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripted import QUESTION, Script, stopped
from smartad.agents import Setup, cot, no_search
from smartad.dialect import COT, DIALECTS, PROMPTS, chat, stop_strings
from smartad.types import Ballot, Completion, Question

SETUP = Setup(PROMPTS["cot"], COT, 5, no_search, stop_strings(COT), max_tokens=64, temperature=0.7, top_p=0.9)


def play(script, question=QUESTION, **options):
    return cot.solve(question, 2, 9, dataclasses.replace(SETUP, **options), script, None)


def said(text):
    return stopped(text, COT)


def answering(*answers):
    """Candidates, one for each answer; None states none."""
    return [said(f"Reason {i}. <answer>{a}</answer>" if a is not None else f"Reason {i}.") for i, a in enumerate(answers)]


def test_chain_is_one_step_that_ran_nothing():
    script = Script(said("6 * 7 is 42.\n<answer>42</answer> and more"))
    played = play(script)
    [step] = played.steps
    assert (step.text, step.action, step.observation, step.status) == ("6 * 7 is 42.\n<answer>42</answer>", "", "", "final")
    assert (played.answer, played.stop, played.tokens, played.tool_calls, played.sample) == ("42", "answered", 5, 0, 2)
    assert chat(QUESTION, played.steps, PROMPTS["cot"]) == [*script.seen[0], {"role": "assistant", "content": step.text}]
    request = script.requests[0]
    assert (request.stop, request.max_tokens, request.temperature, request.top_p, request.seed, request.n) == (
        ("</answer>", "Observation:"), 64, 0.7, 0.9, 9, 1)


@pytest.mark.parametrize(("text", "finish"), [("I do not know.", "stop"), ("", "stop"), ("It is <answer>4", "length"),
                                              ("It is 4 or 42.\nThe answer is 4", "length")])
def test_chain_without_a_whole_answer_has_none(text, finish):
    played = play(Script(Completion(text, finish, 3)))
    [step] = played.steps
    assert (played.answer, played.stop, step.status, step.text) == (None, "parse_error", "parse_error", text)


def test_passages_are_looked_up_once_and_are_part_of_the_chat():
    asked = []
    script = Script(said("<answer>42</answer>"))
    played = play(script, passages=True, search=lambda query: asked.append(query) or "Six times seven is 42. </s>")
    assert asked == [QUESTION.text] and played.passages == "Six times seven is 42. </s>"
    assert script.seen[0][-1]["content"].endswith("\n\nPassages that may help:\nSix times seven is 42. < /s>")
    assert chat(QUESTION, played.steps, PROMPTS["cot"], played.passages)[:-1] == script.seen[0]
    assert play(Script(said("<answer>42</answer>"))).passages == ""


def test_majority_of_the_answers_wins_and_its_earliest_chain_is_kept():
    played = play(Script(answering("A", "The  B", None, "the b", "A", "the b")), candidates=6)
    assert (played.answer, played.steps[0].text) == ("The  B", "Reason 1. <answer>The  B</answer>")
    assert played.ballots == (Ballot(6, 2, 1, 3),) and played.tokens == 30


@given(st.lists(st.sampled_from(["a", "A", "b", "c", None]), min_size=1, max_size=8))
def test_vote_is_that_of_a_count_by_hand(answers):
    played = play(Script(answering(*answers)), candidates=len(answers))
    words = [None if a is None else a.lower() for a in answers]
    counts = {w: words.count(w) for w in words if w is not None}
    most = [i for i, w in enumerate(words) if w is not None and counts[w] == max(counts.values())]
    winner = most[0] if most else 0
    assert (played.answer, played.steps[0].text.startswith(f"Reason {winner}.")) == (answers[winner], True)
    assert played.stop == ("answered" if most else "parse_error")


def test_candidates_that_could_not_be_written_have_no_vote():
    lost = Completion("<answer>0", "context_overflow", 3)
    played = play(Script([lost, *answering("1"), lost]), candidates=3)
    assert (played.answer, played.ballots, played.tokens) == ("1", (Ballot(1, 1, 0, 1),), 11)


@given(st.text())
def test_no_question_can_be_taken_for_the_chat_around_it(text):
    script = Script(said("<answer>1</answer>"))
    play(script, Question("q", text + "<|im_end|>", ()))
    assert [m["role"] for m in script.seen[0]] == ["system", "user"] and "<|im_end|>" not in script.seen[0][1]["content"]


@pytest.mark.parametrize(("written", "answer"), [
    (Completion("  ```python\ndef f(x):\n    return x\n```\nThat is all.", "stop", 9),
     "  ```python\ndef f(x):\n    return x\n```\nThat is all."),
    (Completion("def f(x): # <answer>1</answer>\n    return", "length", 9), "def f(x): # <answer>1</answer>\n    return"),
    (Completion(" \n", "stop", 1), None),
])
def test_plain_completion_is_an_answer_as_it_stands(written, answer):
    form, script = DIALECTS["text"], Script(written)
    setup = Setup(PROMPTS["code"], form, 5, no_search, stop_strings(form), max_tokens=64, temperature=0.0)
    played = cot.solve(Question("made/0", "def f(x):\n", (), entry_point="f"), 0, 7, setup, script)
    assert (played.answer, played.stop) == (answer, "answered" if answer else "parse_error")
    assert script.requests[0].stop == () and script.seen[0][1]["content"].endswith("and not what it returns.\n\ndef f(x):\n")
