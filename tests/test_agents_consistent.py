"""Votes on the candidates of a turn, with real code in real processes."""

import collections
import dataclasses

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripted import PAPER, QUESTION, Script, block
from smartad.agents import Setup, codeact, no_search
from smartad.agents.executor import Interpreters
from smartad.agents.limits import CodeLimits
from smartad.dialect import PROMPTS, chat, stop_strings
from smartad.types import Ballot, Completion, ToolDown
from test_agents_codeact import EPISODES

pytestmark = pytest.mark.slow

DONE = block("final_answer(42)")


@pytest.fixture(scope="module")
def interpreters():
    with Interpreters(CodeLimits(step_timeout_s=2.0, output_chars=2000)) as running:
        yield running


def play(interpreters, *turns, candidates=4, search=no_search):
    """An episode; a turn that is not a list of candidates is that of all of them."""
    script = Script(*([turn] * candidates if not isinstance(turn, list) else turn for turn in turns))
    setup = Setup(PROMPTS["toy"], PAPER, 5, search, stop_strings(PAPER), max_tokens=64, temperature=0.4, candidates=candidates)
    return codeact.solve(QUESTION, 0, 1, setup, script, interpreters), script


def answers(*values):
    return [block(f"final_answer({value!r})") for value in values]


def test_most_of_the_candidates_decide(interpreters):
    played, script = play(interpreters, answers("A", "B", "B", "B"))
    assert (played.answer, played.steps[0].text, played.tokens) == ("B", answers("B")[0], 20)
    assert played.ballots == (Ballot(candidates=4, distinct=2, failed=0, agreed=3),)
    assert script.requests[0].n == 4


def test_candidates_that_fail_have_no_vote(interpreters):
    wrong = [block("1 / 0"), "no code", block("1 / 0")]
    played, _ = play(interpreters, [*wrong, *answers("A")])
    assert (played.answer, played.ballots) == ("A", (Ballot(4, 2, 3, 1),))


def test_outcome_is_whether_it_answers_the_value_and_what_it_printed(interpreters):
    """Four candidates that say the same, one way or another, and two that agree in all."""
    turn = [block("print('1')"), block("'1'"), block("final_answer('1')"), block("print(1); 1"), block("x = '1'\nx"), DONE]
    played, _ = play(interpreters, turn, [DONE] * 6, candidates=6)
    assert played.steps[0].action == "'1'" and played.ballots[0] == Ballot(6, 6, 0, 2)


def test_tie_goes_to_the_earliest_and_so_does_the_text(interpreters):
    turn = [block("final_answer('A')", "a1"), block("final_answer('B')", "b1"), block("final_answer('B')", "b2"),
            block("final_answer('A')", "a2")]
    played, _ = play(interpreters, turn)
    assert (played.answer, played.steps[0].text) == ("A", turn[0])


def test_code_that_was_elected_ran_once_and_its_variables_live_on(interpreters):
    calls = []
    search = lambda query: calls.append(query) or str(len(calls))  # noqa: E731
    lone = block("other = 1\nprint(web_search('a'))")
    winner = block("mine = web_search('b')\nprint('found', mine)")
    played, _ = play(interpreters, [lone, winner, winner, winner], block("print(mine)\nprint(other)"), DONE, search=search)
    assert calls == ["a", "b"]  # once for each distinct code, and not again for the winner
    assert "found 2\n" in played.steps[0].observation
    assert "Execution logs:\n2\n" in played.steps[1].observation and "`other` is not defined" in played.steps[1].observation


def test_candidates_do_not_see_each_other_and_the_losers_are_gone(interpreters):
    play(interpreters, DONE)
    before = psutil.Process(interpreters.server.pid).children(recursive=True)
    counting = [block("n = n + 1\nprint(n)"), block("n = n + 1\nprint(n) "), block("n += 1\nprint(n)"), block("print('x')")]
    played, _ = play(interpreters, block("n = 0"), counting, block("n = n + 1\nprint(n)"), DONE)
    assert ["logs:\n1\n" in s.observation or "logs:\n2\n" in s.observation for s in played.steps] == [False, True, True, False]
    assert psutil.Process(interpreters.server.pid).children(recursive=True) == before


def test_when_all_fail_the_first_ones_error_is_the_turn(interpreters):
    first = block("kept = 7\nprint('so far')\n1 / 0")
    played, _ = play(interpreters, [first, "no code", block("nothing"), block("while True: pass")], block("print(kept)"), DONE)
    step = played.steps[0]
    assert (step.text, step.status) == (first, "exec_error")
    assert "so far" in step.observation and "division by zero" in step.observation
    assert "logs:\n7\n" in played.steps[1].observation  # as without a vote: what it did before it failed stays done
    assert played.ballots[0] == Ballot(4, 3, 4, 0)


def test_when_none_has_code_it_is_a_parse_error_and_nothing_is_lost(interpreters):
    played, _ = play(interpreters, block("x = 5"), ["no code", "none here", "nor here", "nor here"], block("print(x)"), DONE)
    assert [s.status for s in played.steps] == ["ok", "parse_error", "ok", "final"]
    assert played.steps[1].text == "no code" and "logs:\n5\n" in played.steps[2].observation
    assert [b.distinct for b in played.ballots] == [1, 0, 1, 1]


@pytest.mark.parametrize("turns", EPISODES.values(), ids=EPISODES)
def test_candidates_that_all_say_the_same_are_as_good_as_one(interpreters, turns):
    """Byte for byte, but for the tokens that the others cost."""
    one, alone = play(interpreters, *turns, candidates=1)
    three, together = play(interpreters, *turns, candidates=3)
    assert dataclasses.replace(three, seconds=one.seconds, tokens=one.tokens, ballots=()) == one
    assert three.tokens == 3 * one.tokens and together.seen == alone.seen and one.ballots == ()
    assert chat(QUESTION, three.steps, PROMPTS["toy"])[:-1] == together.seen[-1]


def test_engine_that_writes_some_candidates_only_has_those_vote(interpreters):
    lost = Completion("", "context_overflow", 0)
    played, _ = play(interpreters, [lost, *answers("A"), lost])
    assert (played.answer, played.ballots) == ("A", (Ballot(1, 1, 0, 1),))
    played, _ = play(interpreters, [Completion("", "error", None, detail="lost")])
    assert (played.stop, played.reason, played.steps) == ("engine_error", "lost", ())


def test_tool_that_is_down_is_no_candidates_failure(interpreters):
    def search(query):
        raise ToolDown("nobody answers")

    with pytest.raises(ToolDown, match="nobody answers"):
        play(interpreters, block("print(web_search('a'))"), search=search)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["A", "B", "C", None]), min_size=2, max_size=6))
def test_vote_is_that_of_a_count_by_hand(interpreters, values):
    turn = [block("1 / 0", str(i)) if v is None else block(f"final_answer({v!r})", str(i)) for i, v in enumerate(values)]
    played, _ = play(interpreters, turn, [DONE] * len(values), candidates=len(values))
    counts = collections.Counter(v for v in values if v is not None)
    winner = next((i for i, v in enumerate(values) if v is not None and counts[v] == max(counts.values())), 0)
    assert played.steps[0].text == turn[winner]
    assert played.ballots[0] == Ballot(len(values), len(set(values)), values.count(None), counts[values[winner]])
