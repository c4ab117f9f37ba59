"""Where a turn's thought, code and markers begin and end."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smartad.dialect import DIALECTS, PAPER, action_of, edge_cases, normalise, render_turn, segments, thought_of
from smartad.types import Segment

REASON, ACTION, FINAL, CONTEXT = Segment.REASON, Segment.ACTION, Segment.FINAL, Segment.CONTEXT

# Turns as bad as real ones: pieces of the format in any order.
PIECES = ["Thought: ", "Code:\n", "```py\n", "```python\n", "\n```", "```", "<end_code>", "\nObservation:", "x = 1",
          "\n", 'print("Code:")', 'final_answer("`")', " ", "é", "<code>\n", "\n</code>", "日本"]
turns = st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), max_size=4)
dialects = st.sampled_from(sorted(DIALECTS)).map(DIALECTS.get)
# What cannot be told from a marker cannot come back.
words = st.text(st.characters(codec="utf-8", exclude_characters="`<", exclude_categories=["Cs", "Cc", "Zl", "Zp"])).filter(
    lambda text: not any(word in text for word in ("Observation:", "Code:", "Thought:")))


def cut(*texts, **options):
    """(text, segment) of every piece."""
    return [[(text[start:end], segment) for start, end, segment in cuts]
            for text, cuts in zip(texts, segments(texts, **options), strict=True)]


@given(turns, dialects, st.booleans())
def test_segments_of_any_turns_cover_them_without_gap_or_overlap(texts, dialect, markers):
    for text, cuts in zip(texts, segments(texts, dialect, markers), strict=True):
        assert "".join(text[start:end] for start, end, _ in cuts) == text
        assert all(start < end for start, end, _ in cuts)
        assert all(end == start for (_, end, _), (start, _, _) in pairwise(cuts))


@given(turns, dialects)
def test_segments_have_one_final_block_at_most_and_nothing_trained_after_an_invention(texts, dialect):
    cuts = [(turn, segment) for turn, found in enumerate(segments(texts, dialect)) for *_, segment in found]
    kinds = [segment for _, segment in cuts]
    assert kinds.count(FINAL) <= 1
    assert FINAL not in kinds or ACTION not in kinds[kinds.index(FINAL):]
    for turn in {turn for turn, segment in cuts if segment == CONTEXT}:
        assert [segment for t, segment in cuts if t == turn][-1] == CONTEXT


@given(words, words, dialects)
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


def test_segments_of_an_answer_in_a_block_of_its_own_are_final():
    mint = DIALECTS["mint"]
    texts = ["<thought> I add. </thought>\n<execute>\n1 + 1\n</execute>", "It is <solution> 2 </solution>."]
    assert cut(*texts, dialect=mint) == [[("<thought> I add. </thought>\n", REASON), ("<execute>\n1 + 1\n</execute>", ACTION)],
                                         [("It is ", REASON), ("<solution> 2 </solution>", FINAL), (".", REASON)]]
    assert [action_of(text, mint) for text in texts] == ["1 + 1", "final_answer('2')"]
    assert edge_cases(texts, mint) == []
    assert edge_cases(texts[:1], mint) == ["single_block", "last_block_without_final_answer"]


@pytest.mark.parametrize(("texts", "cases"), [
    ([render_turn("a", "print(1)"), render_turn("b", "final_answer(1)")], []),
    (["I give up."], ["no_block"]),
    ([render_turn("b", "final_answer(1)")], ["single_block"]),
    ([render_turn("a", "print(1)"), render_turn("b", "print(2)")], ["last_block_without_final_answer"]),
    ([render_turn("a", "x") + render_turn("b", "final_answer(1)")], ["several_blocks_in_turn"]),
    ([render_turn("a", "x"), render_turn("b", "final_answer(1)") + "\nObservation: 1"], ["invented_observation"]),
    ([render_turn("a", "x"), render_turn("b", "final_answer(1)"), "Code:\n```py\ny"], ["unclosed_block"]),
])
def test_edge_cases_of_a_trajectory_are_named(texts, cases):
    assert edge_cases(texts) == cases
