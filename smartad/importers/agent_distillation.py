"""Agent Distillation's logs: ``{"question", "true_answer", "generated_answer", "log_data": {"messages": [...]}}``.

The messages are smolagents' own, with the roles system, user, assistant, tool-call and tool-response, and content as text or as a
list of ``{"type": "text"}``; both its old form (``Code:``) and that of smolagents 1.26 (``<code>``).  A ``tool-call`` repeats the
code of the turn before it ("Calling tools: ...") and is left out of the chat, with the ``Call id:`` that refers to it; the code
in it is what ran.  Where ``max_steps`` ran out, ``generated_answer`` is what the model said when it was asked once more, not
what an agent answered: it is no answer here.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

from smartad.dialect import INVENTED as INVENTED_TEXT
from smartad.importers import INVENTED, INVENTED_MEANS, Found, Unusable, gold, text
from smartad.types import Step, StepStatus, StopReason

DIALECTS = ("paper", "smolagents")
REPEATS = True
MARKS = {
    "asked_again": "max_steps ran out, and what the model said when it was asked once more is in the log as its answer",
    "forbidden_import": "its code imported what the sandbox does not allow",
    INVENTED: INVENTED_MEANS,
}
CALL = re.compile(r"\ACall id: \S+\n")
OUT_OF_STEPS = "AgentMaxStepsError"
FORBIDDEN = re.compile(r"Import from \S+ is not allowed")
UNPARSED = "Error in code parsing"


def read(row: Mapping[str, Any]) -> Found:
    """One run of one question."""
    if row["log_data"] is None:
        raise Unusable("no_run", f"the run failed: {' '.join(str(row.get('error')).split())}")
    messages = [(message["role"], content(message)) for message in row["log_data"]["messages"]]
    metadata = row["log_data"]["metadata"]
    exhausted = metadata.get("state") == "max_steps_error" or OUT_OF_STEPS in messages[-1][1]
    steps = _steps(messages)
    answer = None if exhausted else text(row["generated_answer"])
    if answer is not None:
        steps[-1] = Step(steps[-1].text, steps[-1].action, steps[-1].observation, "final")
    ended: StopReason = "parse_error" if steps[-1].status == "parse_error" else "max_steps"
    marks = {"asked_again": exhausted and row["generated_answer"] is not None,
             "forbidden_import": any(FORBIDDEN.search(step.observation) for step in steps),
             INVENTED: any(INVENTED_TEXT.search(step.text) for step in steps)}
    return Found(row["question"], gold(row["true_answer"]), tuple(steps), answer, "answered" if answer is not None else ended,
                 tokens=_counted(row), seconds=metadata.get("performance", {}).get("total_duration"), claimed=row.get("score"),
                 marks=tuple(mark for mark, holds in marks.items() if holds))


def content(message: Mapping[str, Any]) -> str:
    """A message's text, whether it is one or a list of ``{"type": "text"}``.  Raises Unusable for a list with anything else."""
    parts = message["content"]
    if isinstance(parts, str):
        return parts
    if other := [part["type"] for part in parts if part["type"] != "text"]:
        raise Unusable("other_content", f"a message of the {message['role']} holds {other[0]!r}, not text")
    return "\n".join(part["text"] for part in parts)


def _steps(messages: Sequence[tuple[str, str]]) -> list[Step]:
    """A step per assistant message; what follows it up to the next one is its code and its observation."""
    starts = [i for i, (role, _) in enumerate(messages) if role == "assistant"]
    if not starts:
        raise Unusable("no_turn", "it has no turn of the model")
    ends = [*starts[1:], len(messages)]
    return [_step(messages[start][1], messages[start + 1:end]) for start, end in zip(starts, ends, strict=True)]


def _step(turn: str, after: Sequence[tuple[str, str]]) -> Step:
    if strangers := [role for role, _ in after if role not in ("tool-call", "tool-response")]:
        raise Unusable("other_role", f"a turn is followed by a message of the {strangers[0]!r}")
    action = "\n\n".join(_ran(said) for role, said in after if role == "tool-call")
    responses = [CALL.sub("", said) for role, said in after if role == "tool-response" and OUT_OF_STEPS not in said]
    status: StepStatus = "ok"
    if errors := [said for said in responses if said.startswith("Error:\n")]:
        status = "parse_error" if UNPARSED in errors[0] else "exec_error"
    return Step(turn, action, "\n".join(said.removesuffix("\n") for said in responses), status)


def _ran(call: str) -> str:
    """The code in ``Calling tools: [{..., 'arguments': code}]``, which is a Python literal."""
    calls = ast.literal_eval(call.removeprefix("Calling tools:").strip())
    return "\n\n".join(one["function"]["arguments"] for one in calls)


def _counted(row: Mapping[str, Any]) -> int | None:
    """Generated tokens; the old form's counters are 0 throughout, which says that nobody counted."""
    tokens: int | None = row.get("output_tokens") or None
    return tokens
