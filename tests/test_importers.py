"""Formats of trajectories made elsewhere: what is read, and what is refused by which name."""

import pytest

from foreign_rows import GOOD, LOST, SUM, WRONG, answered, block, call, chat, log, mint
from smartad import importers
from smartad.dialect import DIALECTS, segments
from smartad.importers import Unusable
from smartad.types import Segment

TRACEBACK = f"Observation:\n{'-' * 75}\nZeroDivisionError    Traceback (most recent call last)\nCell In[1], line 1\n"
SYNTAX = "Observation:\n  Cell In[4], line 3\n    print(\n         ^\nSyntaxError: incomplete input\n"
LATE = f"Observation:\n{'-' * 75}\nTimeoutError   Traceback (most recent call last)\nTimeoutError: Timed out after 30 s.\n"
INVENTED_END = f"{SUM}\n\nObservation:\n5\n\nAssistant:\nThe answer is <solution> 5 </solution>."
FORBIDDEN = "Error:\nCode execution failed due to: InterpreterError: Import from functools is not allowed. Authorized: ['math']\n"
UNPARSED = "Error:\nError in code parsing:\nYour code snippet is invalid, because the regex pattern was not found in it.\n"
OUT_OF_STEPS = ("tool-response", "Error:\nAgentMaxStepsError: Reached max steps.\nNow let's retry.")


def mint_read(**row):
    return importers.get("mint").read(mint(**row))


def log_read(*messages, **row):
    return importers.get("agent_distillation").read(log(*messages, **row))


def chat_read(*said, **row):
    return importers.get("messages").read(chat(*said, **row))


def test_every_format_has_a_row_here():
    assert importers.names() == sorted(GOOD)


@pytest.mark.parametrize("name", importers.names())
def test_format_keeps_its_contract(name):
    module = importers.get(name)
    found = module.read(GOOD[name])
    assert set(module.DIALECTS) <= DIALECTS.keys() and module.DIALECTS
    assert set(found.marks) <= module.MARKS.keys() and all(module.MARKS.values())
    assert importers.INVENTED in module.MARKS
    assert found.question == "What is 2 plus 3?" and found.steps and found.steps[-1].status == "final"
    form = DIALECTS[module.DIALECTS[0 if name != "agent_distillation" else module.DIALECTS.index("paper")]]
    kinds = {segment for turn in segments(found.steps, form) for *_, segment in turn}
    assert Segment.FINAL in kinds, "its dialect finds the answer in it"
    with pytest.raises((Unusable, LookupError, TypeError)):
        module.read({})


def test_mint_turns_are_as_the_model_wrote_them():
    found = mint_read()
    assert [step.text for step in found.steps] == [SUM, "The answer is <solution> 5 </solution>."]
    assert [(step.action, step.observation, step.status) for step in found.steps] == [
        ("print(2 + 3)", "Observation:\n5\n", "ok"), ("", "", "final")]
    assert (found.answer, found.answers, found.stop, found.tokens, found.seconds) == ("5", ("5.0",), "answered", 31, None)
    assert found.claimed is True and found.marks == ()


@pytest.mark.parametrize("written", ["Assistant:\nI know: <solution>5</solution>", "Assistant: I know: <solution>5</solution>",
                                     " Assistant:  I know: <solution>5</solution>"])
def test_mint_label_before_a_turn_is_not_the_models(written):
    assert mint_read(turns=[(written, None)]).steps[0].text == "I know: <solution>5</solution>"


@pytest.mark.parametrize(("turn", "shown", "status", "action"), [
    (SUM, "Observation:\n5\n", "ok", "print(2 + 3)"), (SUM, TRACEBACK, "exec_error", "print(2 + 3)"),
    (SUM, f"Observation:\nbefore\n{TRACEBACK.removeprefix('Observation:')}", "exec_error", "print(2 + 3)"),
    (SUM, SYNTAX, "exec_error", "print(2 + 3)"), (SUM, LATE, "timeout", "print(2 + 3)"), (SUM, LOST, "parse_error", ""),
    ("I wonder.", "Observation:\n...\n", "parse_error", ""), ("<solution> 4 </solution>", WRONG, "ok", ""),
    (SUM, "Observation:\nA Traceback is what I looked up.\n", "ok", "print(2 + 3)")])
def test_mint_step_goes_as_the_environment_said(turn, shown, status, action):
    step = mint_read(turns=[(turn, shown), ("<solution> 5 </solution>", None)]).steps[0]
    assert (step.status, step.action) == (status, action)


def test_mint_answer_after_a_rejected_one_is_the_last_and_marked():
    found = mint_read(turns=[("<solution> 4 </solution>", WRONG), ("<solution> 5 </solution>", None)])
    assert (found.answer, found.marks) == ("5", ("told_wrong",))
    turns = segments(found.steps, DIALECTS["mint"])
    assert [cut[2] for turn in turns for cut in turn] == [Segment.ACTION, Segment.FINAL]


def test_mint_answer_that_was_rejected_before_the_end_is_none():
    found = mint_read(turns=[("<solution> 4 </solution>", WRONG), (SUM, None)], success=False)
    assert (found.answer, found.stop, found.marks) == (None, "max_steps", ())


def test_mint_answer_behind_an_invented_observation_is_marked_and_never_trained_on():
    found = mint_read(turns=[(INVENTED_END, None)])
    assert (found.answer, found.marks) == ("5", ("invented_answer", "invented_observation"))
    (turn,) = segments(found.steps, DIALECTS["mint"])
    trained = "".join(found.steps[0].text[start:end] for start, end, segment in turn if segment != Segment.CONTEXT)
    assert "print(2 + 3)" in trained and "Observation" not in trained and "solution" not in trained


def test_mint_turn_with_code_and_answer_proposes_and_runs_nothing():
    found = mint_read(turns=[(f"{SUM} It is <solution>5</solution>.", WRONG), (SUM, "Observation:\n5\n"),
                             ("<solution>6</solution>", None)])
    assert [(step.action, step.status) for step in found.steps] == [("", "ok"), ("print(2 + 3)", "ok"), ("", "final")]


def test_mint_several_answers_in_a_turn_are_a_line_each():
    assert mint_read(turns=[("<solution> 2 </solution> and <solution> 3 </solution>", None)]).answer == "2\n3"


def test_mint_turn_that_goes_on_as_if_answered_is_marked():
    assert mint_read(turns=[("I think.\nAssistant:\n<solution> 5 </solution>", None)]).marks == ("second_label",)


@pytest.mark.parametrize(("error", "stop"), [("This model's maximum context length is 4096", "context_overflow"),
                                             ("503 no server", "engine_error"), (None, "max_steps")])
def test_mint_episode_without_an_answer_says_how_it_ended(error, stop):
    found = mint_read(turns=[("<solution> 4 </solution>", WRONG)] if error else [(SUM, None)], success=False, error=error)
    assert (found.stop, found.answer) == (stop, None)


@pytest.mark.parametrize(("spoil", "kind"), [
    (lambda row: row["state"]["history"].pop(1), "missing_turn"),
    (lambda row: row["state"].update(history=row["state"]["history"][:1]), "no_turn"),
    (lambda row: row["task"].update(prompt="What is 7 plus 8?"), "other_task")])
def test_mint_row_that_is_not_one_episode_is_refused(spoil, kind):
    row = mint()
    spoil(row)
    with pytest.raises(Unusable) as refused:
        importers.get("mint").read(row)
    assert refused.value.kind == kind


def test_log_leaves_the_repeated_call_out_and_keeps_what_ran():
    found = log_read(("assistant", block("print(2)")), call("print(2)\n\nprint(3)"),
                     ("tool-response", "Call id: call_1\nObservation:\n2"), *answered())
    assert [(step.text, step.action, step.observation, step.status) for step in found.steps] == [
        (block("print(2)"), "print(2)\n\nprint(3)", "Observation:\n2", "ok"),
        (block("final_answer(2 + 3)"), "final_answer(2 + 3)",
         "Observation:\nExecution logs:\nLast output from code snippet:\n5", "final")]
    assert (found.answer, found.stop, found.seconds, found.tokens, found.claimed) == ("5", "answered", 1.5, None, None)


@pytest.mark.parametrize(("shown", "status", "marks"), [
    ([UNPARSED], "parse_error", ()), ([f"Call id: call_1\n{FORBIDDEN}"], "exec_error", ("forbidden_import",)),
    (["Call id: call_1\nObservation:\n2\n", "Call id: call_1\nError:\nCode failed\n"], "exec_error", ())])
def test_log_step_fails_as_the_agent_said(shown, status, marks):
    found = log_read(("assistant", block("x")), *(("tool-response", text) for text in shown), *answered())
    assert (found.steps[0].status, found.marks) == (status, marks)
    assert found.steps[0].observation == "\n".join(text.removeprefix("Call id: call_1\n").rstrip("\n") for text in shown)


def test_log_with_an_invented_observation_is_marked():
    turn = f"{block('print(2)')}\n\nObservation: 2\n\n{block('final_answer(2)')}"
    found = log_read(("assistant", turn), call("final_answer(2)"), ("tool-response", "Call id: call_1\nObservation:\n2"))
    assert found.marks == ("invented_observation",)


@pytest.mark.parametrize("metadata", [{"state": "max_steps_error"}, {}])
def test_log_of_an_agent_that_ran_out_of_steps_has_no_answer(metadata):
    """What it said when it was asked once more is in the log as its answer, and was even graded."""
    found = log_read(("assistant", "Thought: hm"), ("tool-response", UNPARSED), OUT_OF_STEPS, answer="It may be 5", **metadata)
    assert (found.answer, found.stop, found.marks) == (None, "parse_error", ("asked_again",))
    assert found.steps[-1].observation == UNPARSED.rstrip("\n"), "no message of the agent's own is taken for an observation"


@pytest.mark.parametrize(("value", "text"), [(600.0, "600.0"), (13, "13"), (True, "True"), ([1, 2], "[1, 2]"), ("5", "5")])
def test_log_answer_is_text_as_it_was_printed(value, text):
    assert log_read(*answered(), answer=value).answer == text


@pytest.mark.parametrize("gold", [None, "", "  "])
def test_log_without_a_gold_has_no_accepted_answers(gold):
    assert log_read(*answered(), gold=gold).answers == ()


def test_log_content_may_be_text_or_parts():
    row = log(*answered())
    for message in row["log_data"]["messages"]:
        message["content"] = message["content"][0]["text"]
    assert importers.get("agent_distillation").read(row) == log_read(*answered())


def test_log_with_a_picture_is_refused():
    row = log(*answered())
    row["log_data"]["messages"][2]["content"].append({"type": "image"})
    with pytest.raises(Unusable, match="a message of the assistant holds 'image'"):
        importers.get("agent_distillation").read(row)


def test_log_of_a_run_that_failed_is_refused_with_its_error():
    row = {"model_id": "m", "question": "q", "error": "Error in generating\nmodel output", "log_data": None, "cost": 0.0}
    with pytest.raises(Unusable, match="the run failed: Error in generating model output") as refused:
        importers.get("agent_distillation").read(row)
    assert refused.value.kind == "no_run"


def test_chat_answer_is_known_where_it_is_a_literal():
    found = chat_read("Thought: I know.\n<code>\nfinal_answer('5')\n</code>")
    assert (found.question, found.answer, found.answers, found.stop, found.marks) == (
        "What is 2 plus 3?", "5", (), "answered", ())
    computed = chat_read("Thought: I add.\n<code>\nx = 2 + 3\nfinal_answer(x)\n</code>")
    assert (computed.answer, computed.stop, computed.marks) == (None, "answered", ("computed_answer",))


def test_chat_of_several_turns_keeps_what_was_shown_between_them():
    found = chat_read("<code>\nprint(5)\n</code>", "Observation:\n5", "<code>\nfinal_answer(5)\n</code>")
    assert [(step.action, step.observation, step.status) for step in found.steps] == [
        ("print(5)", "Observation:\n5", "ok"), ("final_answer(5)", "", "final")]


@pytest.mark.parametrize(("said", "more", "kind"), [
    (["<code>\nprint(5)\n</code>"], {}, "no_end"), (["I know."], {}, "no_end"),
    (["<code>\nfinal_answer(5\n</code>"], {}, "no_end"), (["<code>\nfinal_answer(5)\n</code>", "thanks"], {}, "other_role"),
    (["<code>\nx\n</code>", "Observation:\n", "<code>\nfinal_answer(5)\n</code>"], {"supervision": "last_assistant_only"},
     "last_turn_only")])
def test_chat_that_is_not_a_whole_episode_is_refused(said, more, kind):
    with pytest.raises(Unusable) as refused:
        chat_read(*said, **more)
    assert refused.value.kind == kind
