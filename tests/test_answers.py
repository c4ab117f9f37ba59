"""What servers answer, read: random answers, put together by another rule than they are read by."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartad.engines.answers import BROKEN, Garbled, completions
from smartad.records import dump_line
from smartad.types import Request, UserError

END = "<|im_end|>"
ASKED = Request(({"role": "user", "content": "x"},), max_tokens=1000, top_logprobs=2)
CHARACTERS = st.sampled_from([*"ab 1\n`é漢🙂"])
WORDS = st.text(CHARACTERS, min_size=1, max_size=4)


def cut_up(words, silent):
    """(token, its characters in the text) as a byte-level tokenizer cuts: a character of several bytes is a token a byte.

    ``silent``: a server that says nothing of a character before its last byte.
    """
    position = 0
    for word in words:
        for wide, characters in itertools.groupby(word, key=lambda c: len(c.encode()) > 1):
            run = "".join(characters)
            if wide:
                for c in run:
                    before = ("" if silent else BROKEN, None)
                    yield from [before] * (len(c.encode()) - 1)
                    yield (c if silent else BROKEN), None
            else:
                yield run, (position, position + len(run))
            position += len(run)
    yield END, (position, position)


def answer(tokens, text, reason="stop", **more):
    end = {"token": END, "logprob": -3.0}
    ranked = [{"token": token, "logprob": -1.0, "top_logprobs": [{"token": token, "logprob": -1.0}, end]} for token in tokens]
    return {"model": "m", "choices": [{"message": {"content": text}, "finish_reason": reason, "stop_reason": None,
                                       "logprobs": {"content": ranked}, **more}]}


@given(st.lists(WORDS, max_size=8), st.booleans())
def test_choices_are_at_the_characters_of_their_tokens_whatever_is_between(words, silent):
    text = "".join(words)
    cut = list(cut_up(words, silent))
    [said] = completions(answer([token for token, _ in cut], text), ASKED, "m")
    assert [(c.start, c.end) for c in said.choices] == [place for _, place in cut if place]
    assert [c.texts[0] for c in said.choices] == [text[place[0]:place[1]] for _, place in cut if place]
    assert said.choices[-1].texts == ("", "") and said.tokens == len(cut) == len(said.logprobs)


@given(st.lists(WORDS, min_size=1, max_size=6), st.lists(st.text(CHARACTERS, min_size=1, max_size=3), max_size=3))
def test_text_ends_before_the_first_stop_string_in_it(words, stops):
    text = "".join(words)
    request = Request(ASKED.messages, stop=tuple(stops), max_tokens=1000)
    [said] = completions({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}, request, "m")
    assert not any(stop in said.text for stop in stops)
    assert text.startswith(said.text + (said.stopped_by or "")) and (said.stopped_by is None) == (said.text == text)


def test_end_of_turn_is_named_only_where_it_is_known():
    [stopped] = completions(answer(["one", " two."], "one", stop_reason=" two."),
                            Request(ASKED.messages, stop=(" two.",), top_logprobs=2), "m")
    assert [c.texts for c in stopped.choices] == [("one", END), (" two.", END)]


def test_text_that_the_tokens_do_not_make_has_choices_only_as_far_as_they_agree():
    [said] = completions(answer(["one", " TWO", " three"], "one two three", "length"), ASKED, "m")
    assert [(c.start, c.end) for c in said.choices] == [(0, 3)]


@pytest.mark.parametrize("body", [
    None, [], "text", 5, {}, {"choices": []}, {"choices": None}, {"choices": ["text"]}, {"choices": [{}]},
    {"choices": [{"message": "text", "finish_reason": "stop"}]},
    {"choices": [{"message": {"content": "x"}, "finish_reason": "stop", "logprobs": {"content": [{"token": "x"}]}}]}])
def test_what_is_no_answer_is_garbled_and_nothing_else(body):
    with pytest.raises(Garbled):
        completions(body, ASKED, "m")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["choices", "message", "content", "finish_reason", "logprobs", "token_ids", "usage",
                                         "completion_tokens", "model", "stop_reason", "stop", "length"]), inner, max_size=4)))
def test_no_json_breaks_anything_but_is_read_or_garbled(body):
    try:
        read = completions(body, ASKED, "m")
    except (Garbled, UserError):
        return
    assert read and all(c.finish in ("stop", "length", "context_overflow", "error") for c in read)


@pytest.mark.parametrize("reason, transient", [("abort", True), ("content_filter", False), (None, False), ("tool_calls", False)])
def test_answer_that_ended_otherwise_is_an_error_and_says_how(reason, transient):
    [said] = completions({"choices": [{"message": {"content": "half"}, "finish_reason": reason}]}, ASKED, "m")
    assert said.finish == "error" and repr(reason) in said.detail and said.transient is transient


def test_model_whose_name_the_server_completes_is_the_one_that_was_asked():
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "model": "m@main"}
    assert completions(body, ASKED, "m")[0].text == "x"


def test_half_a_surrogate_pair_in_an_answer_can_be_kept():
    said = answer(["ab\ud83d"], "ab\ud83d")
    [found] = completions(said, ASKED, "m")
    assert found.text == "ab?" and "\ud83d" not in repr(found.choices)
    dump_line(found).encode()
