"""Requests to a server, and everything that can go wrong on the way: over real connections, to the double of vLLM."""

import asyncio
import dataclasses
import re
import threading
from types import SimpleNamespace

import openai
import pytest

from smartad.engines.http import HttpEngine, _pause_s
from smartad.site import EngineSite
from smartad.types import Request, UserError
from vllm_double import CONTEXT, END, double, hash_of, prompt_tokens

pytestmark = pytest.mark.slow


def ask(text, system="Be brief.", **options):
    return Request(({"role": "system", "content": system}, {"role": "user", "content": text}), **{"max_tokens": 50, **options})


def engine(server, **options):
    given = {"retries": 1, "request_s": 20.0, **options}
    return HttpEngine(EngineSite(kind="http", url=server.url, **given), server.url, server.name, vllm=server.vllm, key=server.key)


def leaving(room, text):
    """A system prompt with which ``text`` leaves so many tokens of the context."""
    without = prompt_tokens({"messages": [{"content": ""}, {"content": text}]})
    return " ".join(["word"] * (CONTEXT - room - without))


def complete(server, *requests, **options):
    with engine(server, **options) as one:
        return asyncio.run(one.complete(requests))


def one(server, request, **options):
    [[completion]] = complete(server, request, **options)
    return completion


@pytest.fixture(scope="module")
def server():
    with double() as running:
        yield running


@pytest.fixture(scope="module")
def plain():
    """A server that is not vLLM's: one candidate at a time, no prefill."""
    with double(vllm=False, max_n=1) as running:
        yield running


def test_answer_has_text_tokens_ids_and_logprobs(server):
    said = one(server, ask("say: one two three"))
    tokens = ["one", " two", " three", END]
    assert (said.text, said.finish, said.tokens, said.stopped_by) == ("one two three", "stop", 4, None)
    assert said.token_ids == tuple(map(hash_of, tokens)) and said.logprobs == (-0.5,) * 4 and said.choices == ()


def test_server_that_tells_no_tokens_leaves_them_empty_and_counts_them(plain):
    said = one(plain, ask("say: one two three"))
    assert (said.text, said.tokens, said.token_ids, said.logprobs) == ("one two three", 4, (), ())


def test_model_is_asked_for_its_own_probabilities_and_for_what_the_request_says(server):
    one(server, ask("say: x", temperature=0.7, top_p=0.9, seed=5, stop=("a", "b")))
    asked = server.bodies[-1]
    assert {k: asked[k] for k in ("temperature", "top_p", "max_tokens", "stop")} == {
        "temperature": 0.7, "top_p": 0.9, "max_tokens": 50, "stop": ["a", "b"]}
    assert {k: asked[k] for k in ("top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")} == {
        "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


def test_plain_server_is_sent_no_field_that_only_vllm_knows(plain):
    one(plain, ask("say: x", stop=("a",)))
    assert set(plain.bodies[-1]) == {"model", "messages", "max_tokens", "seed", "temperature", "top_p", "stop"}


def test_stop_string_that_the_server_tells_is_stopped_by(server):
    said = one(server, ask("say: one two. three four", stop=("never", "two.")))
    assert (said.text, said.finish, said.stopped_by) == ("one ", "stop", "two.")


@pytest.mark.parametrize("text, stop, expected", [
    ("one two three", ("two", "three"), ("one ", "two")), ("one two three", ("three", "two"), ("one ", "two")),
    ("one two", (), ("one two", None)), ("one two", ("four",), ("one two", None))])
def test_stop_string_in_the_text_of_a_server_that_does_not_stop_is_cut_there(text, stop, expected):
    from smartad.engines.answers import completions
    answer = {"choices": [{"message": {"content": text}, "finish_reason": "length"}], "usage": {"completion_tokens": 50}}
    [said] = completions(answer, ask("x", stop=stop), "m")
    assert (said.text, said.stopped_by) == expected and said.finish == ("stop" if expected[1] else "length")


def test_likeliest_tokens_lie_where_the_text_has_them_and_the_end_of_turn_is_empty(server):
    said = one(server, ask("say: one two", top_logprobs=3))
    assert [(c.start, c.end, c.texts, c.logprobs) for c in said.choices] == [
        (0, 3, ("one", " other", ""), (-0.5, -1.5, -2.5)), (3, 7, (" two", " other", ""), (-0.5, -1.5, -2.5)),
        (7, 7, ("", " other", ""), (-0.5, -1.5, -2.5))]


def test_likeliest_tokens_of_a_stop_string_are_told(server):
    said = one(server, ask("say: one two. three", top_logprobs=1, stop=(" two.",)))
    assert said.text == "one" and [(c.start, c.end) for c in said.choices] == [(0, 3), (3, 8)]


@pytest.mark.parametrize("faults", ["503", pytest.param("500, cut", marks=pytest.mark.slow)])
def test_fault_that_passes_is_tried_again_until_the_answer_comes(server, faults):
    before = len(server.bodies)
    said = one(server, ask(f"faults: {faults}; say: fine"), retries=3)
    assert (said.text, said.finish) == ("fine", "stop") and len(server.bodies) - before == faults.count(",") + 2


def test_server_that_names_a_pause_is_given_it(server):
    said = one(server, ask("faults: 429; say: rested"))
    assert said.text == "rested" and server.times[-1] - server.times[-2] >= 1.0, "without, the first pause is 0.5 s at most"


@pytest.mark.parametrize("fault, words", [
    ("429", "answered 429: .*slow down"), ("500", "answered 500: .*CUDA error"), ("503", "answered 503: .*no backend"),
    ("cut", "does not answer: RemoteProtocolError"), ("garbage", "answered what is no completion: '<html>welcome"),
    ("other", "answered what is no completion: KeyError"), ("abort", "ended its answer with 'abort'")])
def test_fault_that_does_not_pass_is_an_error_that_says_so_and_may_be_asked_again(server, fault, words):
    said = one(server, ask(f"faults: {fault}; once"), retries=0)
    assert said.finish == "error" and said.transient and re.search(words, said.detail), said.detail


def test_request_that_the_server_refuses_is_an_error_that_would_come_again(server):
    said = one(server, ask("faults: 400; refused"), retries=3)
    assert said.finish == "error" and not said.transient and "answered 400: " in said.detail and "bad schema" in said.detail


@pytest.mark.parametrize("fault", ["hang", "trickle"])
def test_server_that_never_answers_or_never_ends_is_given_up(server, fault):
    said = one(server, ask(f"faults: {fault}; still"), retries=0, request_s=0.2)
    assert said.finish == "error" and said.transient and "engine.request_s=0.2 and" in said.detail


def test_server_that_is_not_there_is_an_error_of_every_request(server):
    with double() as gone:
        pass
    answers = complete(gone, *(ask(f"say: {n}") for n in range(5)), retries=0)
    assert [[c.finish, c.transient] for [c] in answers] == [["error", True]] * 5 and gone.url in answers[0][0].detail


def test_one_fault_among_many_requests_costs_only_its_own(server):
    answers = complete(server, ask("say: a"), ask("faults: 400; alone"), ask("say: b"))
    assert [c.text for [c] in answers] == ["a", "", "b"] and [c.finish for [c] in answers] == ["stop", "error", "stop"]


def test_other_model_that_answers_ends_the_run_and_is_named(server):
    with pytest.raises(UserError, match="asked for the model 'base', and 'gpt-2' answered"):
        complete(server, ask("faults: wrong; who"))


def test_model_that_the_server_has_not_ends_the_run_and_is_named(server):
    with HttpEngine(EngineSite(kind="http", url=server.url), server.url, "mistral", vllm=True) as other, \
            pytest.raises(UserError, match="has no model 'mistral' .*does not exist.*engine.model"):
        asyncio.run(other.complete([ask("say: x")]))


def test_key_that_is_refused_ends_the_run_and_is_not_said():
    with double(key="right-key-123456") as locked:
        assert one(locked, ask("say: in")).text == "in"
        echoed = one(locked, ask("faults: echo; what was sent"))
        assert "not with <redacted>" in echoed.detail and "right-key" not in echoed.detail
        locked.key = "another-key-123456"
        with pytest.raises(UserError, match=r"the key in \$OURS is refused by .* \(401\); export") as refused, \
                HttpEngine(EngineSite(kind="http", url=locked.url, key_variable="OURS"), locked.url, "base", True,
                           "right-key-123456") as other:
            asyncio.run(other.complete([ask("say: x")]))
    assert "right-key" not in str(refused.value)


def test_prompt_that_leaves_less_than_max_tokens_gets_what_is_left(server):
    text = "say: more" + " more" * 39 + "~"
    said = one(server, ask(text, leaving(20, text)))
    assert (said.finish, said.tokens, said.text.count("more")) == ("context_overflow", 20, 20)
    fits = one(server, ask(text, leaving(20, text), max_tokens=20))
    assert (fits.finish, fits.tokens) == ("length", 20)


def test_prompt_that_leaves_nothing_is_context_overflow(server):
    said = one(server, ask("say: x", "word " * CONTEXT))
    assert (said.text, said.finish, said.tokens) == ("", "context_overflow", 0)


def test_answer_that_ends_in_the_last_tokens_of_the_context_is_whole(server):
    said = one(server, ask("say: done", leaving(2, "say: done")))
    assert (said.text, said.finish) == ("done", "stop")


def test_candidates_come_from_one_request(server):
    before = len(server.bodies)
    [candidates] = complete(server, ask("say: x", n=4, temperature=1.0))
    assert len({c.text for c in candidates}) == 4 and len(server.bodies) == before + 1 and server.bodies[-1]["n"] == 4


def test_server_that_answers_fewer_is_asked_for_the_rest_with_other_seeds(plain):
    [candidates] = complete(plain, ask("say: x", n=4, temperature=1.0))
    assert len({c.text for c in candidates}) == 4
    assert complete(plain, ask("say: x", n=4, temperature=1.0)) == [candidates]


def test_first_of_several_candidates_is_the_only_one_where_one_is_wanted(server, plain):
    for running in (server, plain):
        [several], [[single]] = (complete(running, ask("say: x", n=n, temperature=1.0)) for n in (3, 1))
        assert several[0].text == single.text


def test_candidates_at_temperature_0_are_the_same_and_asked_once(server):
    before = len(server.bodies)
    [candidates] = complete(server, ask("say: x", n=3))
    assert [c.text for c in candidates] == ["x"] * 3 and len(server.bodies) == before + 1


def test_failure_of_one_candidate_is_the_only_answer(server):
    [[failed]] = complete(server, ask("faults: 500; n", n=3, temperature=1.0), retries=0)
    assert failed.finish == "error"


def test_seed_differs_by_turn_and_is_small_enough_for_every_server(server):
    first = ask("say: x", seed=2**62, temperature=1.0)
    turn = dataclasses.replace(first, messages=(*first.messages, {"role": "assistant", "content": "y"},
                                                {"role": "user", "content": "say: x"}))
    complete(server, first, first, turn)
    seeds = [body["seed"] for body in server.bodies[-3:]]
    assert len(set(seeds)) == 2 and all(0 <= seed < 2**31 for seed in seeds)


def test_prefill_is_continued_and_checked_once(server):
    with engine(server) as running:
        before = len(server.bodies)
        requests = [ask(f"say: {word}", prefill="Thought: first") for word in ("a", "b")]
        answers = asyncio.run(running.complete(requests)) + asyncio.run(running.complete(requests))
    assert [c.text for [c] in answers] == ["a", "b"] * 2 and len(server.bodies) - before == 6
    asked = server.bodies[-1]
    assert asked["messages"][-1] == {"role": "assistant", "content": "Thought: first"}
    assert asked["continue_final_message"] is True and asked["add_generation_prompt"] is False


def test_server_that_would_begin_another_turn_after_a_prefill_is_refused(plain):
    with pytest.raises(UserError, match="does not go on from the beginning .*as long .* as without.*engine.kind=vllm"):
        complete(plain, ask("say: a", prefill="Thought: first"))


def test_no_more_requests_are_at_once_than_the_site_says():
    with double() as busy:
        complete(busy, *(ask(f"faults: slow; {n}") for n in range(12)), in_flight=3)
        assert len(busy.bodies) == 12 and busy.most_at_once <= 3


def test_many_requests_are_at_once_when_the_site_lets_them():
    with double() as slow, engine(slow, retries=0, in_flight=32) as running:
        waiting = threading.Thread(target=asyncio.run, args=(running.complete([ask(f"faults: hang; {n}") for n in range(32)]),))
        waiting.start()
        while slow.at_once < 32:
            assert waiting.is_alive()
        slow.released.set()
        waiting.join()
    assert slow.most_at_once == 32


def test_engine_that_is_closed_gives_up_what_is_under_way():
    with double() as slow:
        with engine(slow) as running:
            answers = []

            def wait():
                try:
                    asyncio.run(running.complete([ask("faults: hang; waits")]))
                except BaseException as error:
                    answers.append(error)
            waiting = threading.Thread(target=wait)
            waiting.start()
            while not slow.at_once:
                assert waiting.is_alive()
        waiting.join()
    assert isinstance(answers[0], asyncio.CancelledError)


@pytest.mark.parametrize("asked, low, high", [
    ("7", 7.0, 7.0), ("0.5", 0.5, 0.5), ("-1", 0.0, 0.0), ("99999", 120.0, 120.0), ("nan", 0.0, 120.0), ("", 0.75, 1.0),
    ("soon", 0.75, 1.0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0, 0.0), ("Fri, 31 Dec 9999 23:59:59 GMT", 120.0, 120.0)])
def test_pause_is_what_the_server_asks_for_within_bounds_or_grows(asked, low, high):
    response = SimpleNamespace(status_code=429, headers={"retry-after": asked}, request=None)
    assert low <= _pause_s(openai.APIStatusError("slow", response=response, body=None), 1) <= high
    assert 6.0 <= _pause_s(TimeoutError(), 9) <= 8.0
