"""The first turn begins with what a chain of thought would begin with."""

import pytest

from scripted import PAPER, QUESTION, Script, block, stopped
from smartad.agents import Setup, codeact, no_search
from smartad.agents.executor import Interpreters
from smartad.agents.limits import CodeLimits
from smartad.dialect import PROMPTS, chat, stop_strings
from smartad.types import Completion

SETUP = Setup(PROMPTS["toy"], PAPER, 3, no_search, stop_strings(PAPER), max_tokens=64, temperature=1.0, top_p=0.9,
              first_thought=True)
THOUGHT = "To solve this, we need the product."
REST = " I multiply.\nCode:\n```py\nprint(6 * 7)\n```<end_code>"


@pytest.fixture(scope="module")
def interpreters():
    with Interpreters(CodeLimits()) as running:
        yield running


def play(interpreters, *turns):
    script = Script(*turns)
    return codeact.solve(QUESTION, 0, 6, SETUP, script, interpreters), script


def test_first_turn_goes_on_from_the_first_thought(interpreters):
    played, script = play(interpreters, Completion(THOUGHT, "stop", 7, "\n\n"), stopped(REST), block("final_answer(42)"))
    asked, first, second = script.requests
    assert list(asked.messages) == chat(QUESTION, [], PROMPTS["cot"])
    assert (asked.stop, asked.temperature, asked.top_p, asked.max_tokens, asked.prefill) == (("\n\n",), 1.0, 0.9, 64, "")
    assert (first.prefill, second.prefill) == (f"Thought: {THOUGHT}", "") and asked.seed != first.seed == second.seed == 6
    assert played.steps[0].text == f"Thought: {THOUGHT}{REST}" and played.steps[0].action == "print(6 * 7)"
    assert (played.first_thought, played.answer, played.tokens) == (f"Thought: {THOUGHT}", "42", 17)
    assert chat(QUESTION, played.steps, PROMPTS["toy"])[:-1] == script.seen[-1]  # as if the model had written it all itself


def test_chain_that_begins_with_code_stops_at_it(interpreters):
    chain = f"{THOUGHT}\nCode:\n```py\nfinal_answer(0)\n```"
    played, script = play(interpreters, chain, stopped(REST), block("final_answer(42)"))
    assert script.requests[1].prefill == f"Thought: {THOUGHT}" and played.answer == "42"


@pytest.mark.parametrize("chain", ["", " \n", "<answer>42</answer>", "```python\nprint(1)\n```"])
def test_chain_without_a_first_thought_leaves_the_turn_to_the_model(interpreters, chain):
    played, script = play(interpreters, chain, block("final_answer(42)"))
    assert script.requests[1].prefill == "" == played.first_thought
    assert (played.answer, played.steps[0].text) == ("42", block("final_answer(42)"))


@pytest.mark.parametrize(("finish", "stop"), [("error", "engine_error"), ("context_overflow", "context_overflow")])
def test_chain_that_cannot_be_written_ends_the_episode(interpreters, finish, stop):
    played, script = play(interpreters, Completion("", finish, None, detail="lost"))
    assert (played.stop, played.steps, played.answer, len(script.seen)) == (stop, (), None, 1)
    assert played.reason == ("lost" if finish == "error" else "")
