"""The contract of every agent, whatever it asks and does."""

import dataclasses

import pytest

import remote
from scripted import QUESTION, Script
from smartad import agents
from smartad.agents import Setup, no_search
from smartad.agents.executor import Interpreters
from smartad.agents.limits import CodeLimits
from smartad.dialect import DIALECTS, PROMPTS, chat, stop_strings
from smartad.records import from_json, read_jsonl, to_json
from smartad.stage import Runtime
from smartad.stages.collect import COLLECT, CollectConfig
from smartad.stages.episodes import ROWS, summary
from smartad.types import Ballot, Completion, Trajectory, UserError

FORMS = {"codeact": "paper", "cot": "cot"}
ANSWERS = {"codeact": "Thought: I know.\nCode:\n```py\nfinal_answer(42)\n```<end_code>", "cot": "I know. <answer>42</answer>"}
TOY = {"codeact": CollectConfig(dialect="paper", prompt="toy", samples=2, batch_size=4),
       "codeact, first thought": CollectConfig(dialect="paper", prompt="toy", samples=2, batch_size=4, first_thought=True),
       "cot": CollectConfig(agent="cot", dialect="cot", prompt="toy_cot", samples=2, batch_size=4),
       "cot, passages": CollectConfig(agent="cot", dialect="cot", prompt="toy_cot", samples=2, batch_size=4, passages=True)}


@pytest.fixture(scope="module")
def interpreters():
    with Interpreters(CodeLimits()) as running:
        yield running


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return remote.inputs(tmp_path_factory.mktemp("inputs"), 6)


def play(name, interpreters, *turns):
    form = DIALECTS[FORMS[name]]
    script = Script(*turns)
    setup = Setup(PROMPTS["toy"], form, 2, no_search, stop_strings(form), max_tokens=64, temperature=0.0)
    return agents.get(name)(QUESTION, 3, 7, setup, script, interpreters), script


def test_every_agent_is_tried_here():
    assert set(FORMS) == set(ANSWERS) == set(agents.AGENTS) == {config.agent for config in TOY.values()}


@pytest.mark.parametrize("name", agents.AGENTS)
def test_agent_records_what_its_model_saw_and_wrote(name, interpreters):
    end = DIALECTS[FORMS[name]].end
    played, script = play(name, interpreters, Completion(ANSWERS[name].removesuffix(end), "stop", 5, end))
    assert (played.question_id, played.sample, played.answer, played.stop, played.tokens) == (QUESTION.id, 3, "42", "answered", 5)
    assert chat(QUESTION, played.steps, PROMPTS["toy"]) == [*script.seen[-1], {"role": "assistant", "content": ANSWERS[name]}]
    assert from_json(Trajectory, to_json(played)) == played and played.seconds >= 0
    assert all(request.seed == 7 and request.stop == stop_strings(DIALECTS[FORMS[name]]) for request in script.requests)


@pytest.mark.parametrize("name", agents.AGENTS)
@pytest.mark.parametrize(("finish", "stop", "reason"), [("error", "engine_error", "lost"),
                                                        ("context_overflow", "context_overflow", "")])
def test_agent_whose_engine_gives_up_ends_with_that(name, finish, stop, reason, interpreters):
    played, _ = play(name, interpreters, Completion("", finish, None, detail="lost"))
    assert (played.stop, played.reason, played.answer, played.steps, played.tokens) == (stop, reason, None, (), None)


@pytest.mark.parametrize("name", agents.AGENTS)
def test_agent_that_gets_nothing_to_parse_is_a_parse_error(name, interpreters):
    played, _ = play(name, interpreters, "I do not know.", "I do not know.")
    assert (played.stop, played.answer) == ("parse_error", None)


@pytest.mark.slow
@pytest.mark.parametrize("config", TOY.values(), ids=TOY)
def test_agent_collects_on_the_toy_world_and_a_cut_pool_is_carried_on_to_the_same(config, inputs, tmp_path):
    metrics = COLLECT.run(config, inputs, tmp_path, Runtime())
    rows = [dataclasses.replace(row, seconds=0.0) for row in read_jsonl(tmp_path / ROWS, Trajectory)]
    assert metrics["n"] == len(rows) == 12 and metrics["answered"] == 1.0
    assert metrics.get("first_thought") == (1.0 if config.first_thought else None)
    assert all(bool(row.passages) == config.passages for row in rows)
    whole = (tmp_path / ROWS).read_bytes()
    (tmp_path / ROWS).write_bytes(whole[:2 * len(whole) // 3])
    COLLECT.run(config, inputs, tmp_path, Runtime())
    assert [dataclasses.replace(row, seconds=0.0) for row in read_jsonl(tmp_path / ROWS, Trajectory)] == rows


def test_chain_of_thought_runs_no_code_and_so_needs_no_wall(inputs, tmp_path):
    notes = {}
    COLLECT.run(TOY["cot"], inputs, tmp_path, Runtime(sandbox="moat", note=notes.update))
    assert len(list(read_jsonl(tmp_path / ROWS, Trajectory))) == 12 and "sandbox" not in notes


def test_summary_counts_votes_and_first_thoughts_only_where_there_are_some():
    row = Trajectory("q", 0, (), "1", "answered", 1, 1.0)
    assert {"first_thought", "votes/candidates"}.isdisjoint(summary([row]))
    voted = dataclasses.replace(row, ballots=(Ballot(4, 3, 1, 2), Ballot(4, 1, 0, 4)), first_thought="")
    found = summary([row, voted, dataclasses.replace(row, first_thought="Thought: a")])
    assert {name: found[name] for name in found if name.startswith("votes/")} == {
        "votes/candidates": 8, "votes/distinct": 4, "votes/failed": 1, "votes/agreement": 6 / 7}
    assert found["first_thought"] == 0.5
    assert summary([dataclasses.replace(row, ballots=(Ballot(2, 1, 2, 0),))])["votes/agreement"] is None


def test_agent_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(UserError, match=r"collect\.agent='codact': no such agent; there are codeact, cot\. To add one"):
        CollectConfig(agent="codact")
