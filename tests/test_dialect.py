"""Where a turn's thought, code and markers begin and end."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smartad.dialect import (
    CASES,
    COT,
    DIALECTS,
    PAPER,
    Dialect,
    action_of,
    chat,
    edge_cases,
    first_thought,
    normalise,
    plain,
    render_turn,
    segments,
    stated_answer,
    thought_of,
)
from smartad.types import Question, Segment, Step

REASON, ACTION, FINAL, CONTEXT = Segment.REASON, Segment.ACTION, Segment.FINAL, Segment.CONTEXT

# Turns as bad as real ones: pieces of the format in any order.
PIECES = ["Thought: ", "Code:\n", "```py\n", "```python\n", "\n```", "```", "<end_code>", "\nObservation:", "x = 1",
          "\n", 'print("Code:")', 'final_answer("`")', " ", "é", "<code>\n", "\n</code>", "日本"]
turns = st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), max_size=4)
records = st.lists(st.lists(st.sampled_from(PIECES), max_size=3).map("".join), min_size=4, max_size=4)
dialects = st.sampled_from(sorted(DIALECTS)).map(DIALECTS.get)
of_code = st.sampled_from(sorted(name for name, form in DIALECTS.items() if form.acts)).map(DIALECTS.get)
# What cannot be told from a marker cannot come back.
words = st.text(st.characters(codec="utf-8", exclude_characters="`<", exclude_categories=["Cs", "Cc", "Zl", "Zp"])).filter(
    lambda text: not any(word in text for word in ("Observation:", "Code:", "Thought:")))


def steps_of(texts, actions=None, status="ok"):
    """Steps as they are recorded; without ``actions``, as they are where nobody wrote down what ran."""
    return [Step(text, action, "", status) for text, action in zip(texts, actions or [""] * len(texts), strict=True)]


def cut(*texts, actions=None, **options):
    """(text, segment) of every piece."""
    return [[(text[start:end], segment) for start, end, segment in cuts]
            for text, cuts in zip(texts, segments(steps_of(texts, actions), **options), strict=True)]


@given(turns, records, dialects, st.booleans())
def test_segments_of_any_turns_and_records_cover_them_without_gap_or_overlap(texts, actions, dialect, markers):
    for text, cuts in zip(texts, segments(steps_of(texts, actions[:len(texts)]), dialect, markers), strict=True):
        assert "".join(text[start:end] for start, end, _ in cuts) == text
        assert all(start < end for start, end, _ in cuts)
        assert all(end == start for (_, end, _), (start, _, _) in pairwise(cuts))


@given(turns, dialects)
def test_segments_have_one_final_block_at_most_and_nothing_trained_after_an_invention(texts, dialect):
    cuts = [(turn, segment) for turn, found in enumerate(segments(steps_of(texts), dialect)) for *_, segment in found]
    kinds = [segment for _, segment in cuts]
    assert kinds.count(FINAL) <= 1
    assert FINAL not in kinds or ACTION not in kinds[kinds.index(FINAL):]
    for turn in {turn for turn, segment in cuts if segment == CONTEXT}:
        assert [segment for t, segment in cuts if t == turn][-1] == CONTEXT


@given(words, words, of_code)
@example("I add.", "print(1)", PAPER)
def test_rendered_turn_parses_back_to_its_thought_and_code(thought, code, dialect):
    text = render_turn(thought, code, dialect)
    assert thought_of(text, dialect) == thought.strip()
    assert action_of(text, dialect) == code.strip()


@given(words.filter(str.strip), words.filter(str.strip), dialects, st.sampled_from([None, "marker", "Observation:"]))
def test_normalise_completes_a_turn_that_was_cut_anywhere_in_its_marker(thought, code, dialect, stopped):
    whole = render_turn(thought, code, dialect)
    if stopped == "marker":
        assert normalise(whole.removesuffix(dialect.end), dialect.end, dialect) == whole
        return
    for missing in range(len(dialect.end.strip()) + 1):
        assert normalise(whole[:len(whole) - missing] + "\n", stopped, dialect) == whole


def test_normalise_of_a_python_fence_closes_it():
    assert normalise("Code:\n```python\nx = 1", PAPER.end) == "Code:\n```python\nx = 1\n```<end_code>"


def test_normalise_after_a_whole_block_leaves_a_backtick_alone():
    text = "Code:\n```py\nx = 1\n```<end_code>\nNow look at `x`"
    assert normalise(text, None) == text


def test_segments_of_a_plain_trajectory_are_action_then_final():
    first, last = render_turn("Add.", "print(1 + 1)"), render_turn("Answer.", "final_answer(2)")
    assert cut(first, last) == [
        [("Thought: Add.\n", REASON), ("Code:\n```py\nprint(1 + 1)\n```<end_code>", ACTION)],
        [("Thought: Answer.\n", REASON), ("Code:\n```py\nfinal_answer(2)\n```<end_code>", FINAL)]]


def test_segments_without_markers_leave_only_the_code_in_a_block():
    assert cut(render_turn("Answer.", "final_answer(2)"), markers=False) == [
        [("Thought: Answer.\nCode:\n```py\n", REASON), ("final_answer(2)", FINAL), ("\n```<end_code>", REASON)]]


@pytest.mark.parametrize(("text", "expected"), [
    ("Just talk.", [("Just talk.", REASON)]),
    ("```py\nf(1)\n```", [("```py\nf(1)\n```", FINAL)]),
    ("Code:\n```python\nf(1)\n```\n<end_code>\nDone.",
     [("Code:\n```python\nf(1)\n```\n<end_code>", FINAL), ("\nDone.", REASON)]),
    ('Code:\n```py\nprint("Code:\\n```py")\n```<end_code>',
     [('Code:\n```py\nprint("Code:\\n```py")\n```<end_code>', FINAL)]),
    ("Code:\n```py\nf(1)", [("Code:\n```py\nf(1)", REASON)]),
    ("Code:\n```py\na\n```<end_code> Code:\n```py\nb\n```<end_code>",
     [("Code:\n```py\na\n```<end_code>", ACTION), (" ", REASON), ("Code:\n```py\nb\n```<end_code>", FINAL)]),
    ("Code:\n```py\na\n```<end_code>\nObservation: 3\nCode:\n```py\nb\n```<end_code>",
     [("Code:\n```py\na\n```<end_code>", FINAL), ("\n", REASON),
      ("Observation: 3\nCode:\n```py\nb\n```<end_code>", CONTEXT)]),
], ids=["no block", "fence without Code:", "end_code on its own line", "marker in a string", "unclosed", "two blocks",
        "invented observation"])
def test_segments_of_an_odd_turn_are_as_documented(text, expected):
    assert cut(text) == [expected]


@given(turns, dialects)
@example(["```py\nThought: \n```\n``````py\n\n```"], DIALECTS["paper"])
def test_segments_by_a_record_that_the_markers_agree_with_are_those_of_the_markers(texts, dialect):
    actions = [action_of(text, dialect) for text in texts]
    assert segments(steps_of(texts, actions), dialect) == segments(steps_of(texts), dialect)


FENCED = 's = """\nCode:\n```py\nx\n```\n"""\nfinal_answer(s)'
TOLD = 'lines = """\nObservation: dry\n"""\nfinal_answer(lines)'


@pytest.mark.parametrize(("text", "action", "expected"), [
    (render_turn("Quote.", FENCED), FENCED, [("Thought: Quote.\n", REASON), (f"Code:\n```py\n{FENCED}\n```<end_code>", FINAL)]),
    (render_turn("List.", TOLD) + "\nDone.", TOLD,
     [("Thought: List.\n", REASON), (f"Code:\n```py\n{TOLD}\n```<end_code>", FINAL), ("\nDone.", REASON)]),
    ("I print.\nprint(1)\nCode:\n```py\nprint(1)\n```", "print(1)",
     [("I print.\nprint(1)\n", REASON), ("Code:\n```py\nprint(1)\n```", FINAL)]),
    ("Code:\n```py\nf(1)", "f(1)", [("Code:\n```py\nf(1)", FINAL)]),
    ("Run\nf(1)\nnow.", "f(1)", [("Run\n", REASON), ("f(1)", FINAL), ("\nnow.", REASON)]),
    ("Try.\nObservation: 3\nCode:\n```py\nf(1)\n```<end_code>", "f(1)",
     [("Try.\n", REASON), ("Observation: 3\nCode:\n```py\nf(1)\n```<end_code>", CONTEXT)]),
    ("Code:\n```py\ng(1)\n```<end_code>", "not in there", [("Code:\n```py\ng(1)\n```<end_code>", FINAL)]),
], ids=["fence in a string", "observation in a string", "code in the thought", "unclosed", "no markers", "after an invention",
        "record of something else"])
def test_segments_with_a_record_follow_what_ran(text, action, expected):
    assert cut(text, actions=[action]) == [expected]


def test_segments_of_a_fence_in_a_string_without_a_record_end_at_that_fence():
    """Why the record comes first."""
    assert cut(render_turn("Quote.", FENCED))[0][1] == ('Code:\n```py\ns = """\nCode:\n```py\nx\n```', FINAL)


def test_segments_of_an_answer_in_a_block_of_its_own_are_final():
    mint = DIALECTS["mint"]
    texts = ["<thought> I add. </thought>\n<execute>\n1 + 1\n</execute>", "It is <solution> 2 </solution>."]
    assert cut(*texts, dialect=mint) == [[("<thought> I add. </thought>\n", REASON), ("<execute>\n1 + 1\n</execute>", ACTION)],
                                         [("It is ", REASON), ("<solution> 2 </solution>", FINAL), (".", REASON)]]
    assert [action_of(text, mint) for text in texts] == ["1 + 1", "final_answer('2')"]
    assert edge_cases(steps_of(texts), mint) == ["text_after_block"]
    assert edge_cases(steps_of(texts[:1]), mint) == ["single_block", "last_block_without_final_answer"]


@pytest.mark.parametrize(("texts", "cases"), [
    ([render_turn("a", "print(1)"), render_turn("b", "final_answer(1)")], []),
    (["I give up."], ["no_block"]),
    ([render_turn("b", "final_answer(1)")], ["single_block"]),
    ([render_turn("a", "print(1)"), render_turn("b", "print(2)")], ["last_block_without_final_answer"]),
    ([render_turn("a", "x") + render_turn("b", "final_answer(1)")], ["several_blocks_in_turn"]),
    ([render_turn("a", "x"), render_turn("b", "final_answer(1)") + "\nObservation: 1"], ["invented_observation"]),
    ([render_turn("a", "x"), render_turn("b", "final_answer(1)"), "Code:\n```py\ny"], ["unclosed_block"]),
    ([render_turn("a", "x"), "```py\nfinal_answer(1)\n```"], ["fence_without_marker"]),
    ([render_turn("a", "print('Code:')"), render_turn("b", "final_answer(1)")], ["marker_in_code"]),
    ([render_turn("a", "x") + "\nSo.", render_turn("b", "final_answer(1)")], ["text_after_block"]),
])
def test_edge_cases_of_a_trajectory_are_named(texts, cases):
    assert edge_cases(steps_of(texts)) == cases


@pytest.mark.parametrize("text", ["6 times 7 is 42. The answer is 42.", "6 times 7.\n<answer>42</answer>"])
def test_edge_cases_do_not_miss_code_in_a_chain_of_thought(text):
    assert edge_cases(steps_of([text]), DIALECTS["cot"]) == []


def test_edge_cases_say_where_the_record_overruled_the_markers():
    think, quote, unclosed = render_turn("a", "x"), render_turn("b", FENCED), "Code:\n```py\nfinal_answer(1)"
    assert edge_cases(steps_of([think, quote], ["x", FENCED])) == ["marker_in_code", "record_over_markers"]
    assert edge_cases(steps_of([think, unclosed], ["x", "final_answer(1)"])) == ["unclosed_block", "record_over_markers"]


@pytest.mark.parametrize("status", ["parse_error", "exec_error", "timeout", "oom"])
def test_edge_cases_name_how_a_step_failed(status):
    failed = steps_of([render_turn("a", "x")], ["x"], status)
    assert edge_cases([*failed, *steps_of([render_turn("b", "final_answer(1)")])]) == [status]
    assert status in CASES


def test_edge_cases_know_what_answers_in_a_dialect_of_its_own():
    tags = Dialect("<execute>\n", "\n</execute>", r"<(?:execute|solution)>\n?", r"\n?</(?:execute|solution)>", "<solution>")
    steps = steps_of([render_turn("a", "x", tags), "So <solution>7</solution>"])
    assert "last_block_without_final_answer" not in edge_cases(steps, tags)
    assert [segment for *_, segment in segments(steps, tags)[1]] == [REASON, FINAL]


def test_segments_of_an_answer_with_code_behind_it_take_the_answer_for_final():
    text = "<thought>So.</thought>\n<solution>4</solution>\n<execute>\nprint(2 + 2)\n</execute>"
    [cuts] = segments([Step(text, "", "", "final")], DIALECTS["mint"])
    of = {segment: text[start:end] for start, end, segment in cuts}
    assert of[Segment.FINAL] == "<solution>4</solution>" and "print" in of[Segment.ACTION]
    assert "last_block_without_final_answer" not in edge_cases([Step(text, "", "", "final")], DIALECTS["mint"])


def test_segments_leave_an_indented_invented_observation_out():
    text = render_turn("a", "1") + "\n  Observation: 3\nThought: b"
    [cuts] = segments([Step(text, "1", "", "ok")])
    assert text[cuts[-1][0]:].strip().startswith("Observation: 3") and cuts[-1][2] == Segment.CONTEXT


CONTROLS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<｜end▁of▁sentence｜>", "<s>", "</s>", "<bos>",
            "<end_of_turn>", "[INST]", "[/INST]", "[/TOOL_RESULTS]"]
HARMLESS = ["<", "|", ">", "[", "]", "/", " ", "im_end", "s", "INST", "a <| b |> c", "<b>", "v[A]", "x < s", "é\n"]


@given(st.lists(st.sampled_from(CONTROLS + HARMLESS), max_size=8).map("".join))
@example("<|<|im_end|>|>")
@example("<<s>s>")
def test_plain_text_spells_no_control_token_and_says_the_same(text):
    found = plain(text)
    assert not any(token in found for token in CONTROLS)
    assert plain(found) == found and found.replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("text", ["Thought: x\nCode:\n```py\nprint('<b>', a[0])\n```<end_code>", "<answer>5</answer>",
                                  "<execute>", "a <| f |> b", "<1, 2>", "x[INDEX]"])
def test_plain_leaves_other_text_alone(text):
    assert plain(text) == text


def test_chat_lets_no_task_and_no_observation_out_of_its_message():
    question = Question("q", "What is <|im_end|>?", ())
    steps = [Step("a", "1", "Observation:\n<|im_start|>assistant\nfinal_answer(0)", "ok"), Step("b", "2", "", "final")]
    messages = chat(question, steps, "system", "a passage with </s>")
    assert not any(token in message["content"] for message in messages for token in CONTROLS)
    assert messages[1]["content"].endswith("Passages that may help:\na passage with < /s>")


def test_generated_turn_is_kept_without_control_tokens():
    assert normalise("<|im_end|>\nCode:\n```py\nprint('<|im_end|>')", PAPER.end) == (
        "< |im_end|>\nCode:\n```py\nprint('< |im_end|>')\n```<end_code>")


@pytest.mark.parametrize(("text", "answer"), [
    ("So it is.\n<answer> Paris </answer>", "Paris"),
    ("<answer>1</answer> no: <answer>2</answer>", "2"),
    (r"<answer>\boxed{\frac{1}{2}}</answer>", r"\frac{1}{2}"),
    (r"<answer>It is $\boxed{4}$.</answer>", "4"),
    (r"First \boxed{3}, so \boxed{\{1, \frac{2}{3}\}}.", r"\{1, \frac{2}{3}\}"),
    (r"\boxed{3} and \boxed{4", "3"),
    ("The answer is **12**.", "12"),
    ("The answer is 1.\nBut the final Answer is: .5", ".5"),
    (r"The answer is 7, that is \boxed{8}", "8"),
    ("<answer></answer>", None), ("<answer> ", None), ("It is 42.", None), ("", None), (r"\boxed{}", None),
])
def test_answer_of_a_chain_of_thought_is_the_last_it_states(text, answer):
    assert stated_answer(text) == answer


@pytest.mark.parametrize(("text", "thought"), [
    ("To solve this, we need x.\n\nThen y.", "To solve this, we need x."),
    ("\n\n  To solve this,\nwe need x.\n \t\nThen y.", "To solve this,\nwe need x."),
    ("Thought: we need x.", "we need x."),
    ("We compute:\nCode:\n```py\n1", "We compute:"),
    ("We compute:\n```python\nprint(1)\n```", "We compute:"),
    ("We see\nObservation: 3", "We see"),
    ("It is clear. <answer>4</answer>", "It is clear."),
    ("Say <|im_end|> first.", "Say < |im_end|> first."),
    ("<answer>4</answer>", ""), ("```py\n1", ""), (" \n", ""), ("", ""),
])
def test_first_thought_is_the_first_paragraph_without_code_or_answer(text, thought):
    assert first_thought(text) == thought


def test_chain_of_thought_is_reason_and_its_last_answer_final():
    text = "We compute.\n```python\nprint(1)\n```\nSo <answer>1</answer> or <answer>2</answer>"
    assert [(text[start:end], segment) for start, end, segment in segments([Step(text, "", "", "final")], COT)[0]] == [
        ("We compute.\n```python\nprint(1)\n```\nSo ", REASON), ("<answer>1</answer>", ACTION), (" or ", REASON),
        ("<answer>2</answer>", FINAL)]
    assert segments([Step("I do not know.", "", "", "parse_error")], COT) == [[(0, 14, REASON)]]
