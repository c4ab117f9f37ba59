"""MINT's CodeAct traces: ``{"state": {"history": [...], "success": ...}, "task": {"prompt": ..., "reference": ...}}``.

A turn is run when it has ``<execute>`` and no ``<solution>``; with one it proposes an answer and nothing runs.  A model may
propose twice, and is told when the first is wrong: the answer here is the last one proposed, which is the one ``success``
speaks of, and an answer that followed on a rejection is marked ``told_wrong``.  What a turn proposes is read as MINT read it, in
all of the turn, so an answer may stand behind an observation that the model made up: that is marked ``invented_answer``.

``success`` is no verdict to rely on: numbers count as right within 5 %, texts when they contain the gold, and a negative gold
never counts as right (the tolerance is a share of the gold, so it is negative then).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from smartad.dialect import DIALECTS as FORMS
from smartad.dialect import INVENTED as INVENTED_TEXT
from smartad.dialect import action_of
from smartad.importers import INVENTED, INVENTED_MEANS, Found, Unusable, gold
from smartad.types import Step, StepStatus, StopReason

DIALECTS = ("mint",)
REPEATS = False
MARKS = {
    "told_wrong": "it was told that an earlier answer was wrong, so its last one is no first guess",
    "invented_answer": "its answer stands behind an observation that it made up, so nothing that is trained on leads to it",
    "second_label": "a turn goes on with another 'Assistant:', as if it had been answered",
    INVENTED: INVENTED_MEANS,
}
LABEL = re.compile(r"\A(?:Assistant:\n|\s*Assistant:\s*)")
"""MINT puts ``Assistant:`` and a line end before every turn that does not have it already, and a line end after it."""
SECOND = re.compile(r"^Assistant:", re.MULTILINE)
SOLUTION = re.compile(r"<solution>(.*?)</solution>", re.DOTALL)
FAILED = re.compile(r"^-{60,}\n\w+ +Traceback|^Traceback \(most recent call last\)|^ *Cell In\[\d+\], line \d+", re.MULTILINE)
"""IPython's ways of saying that code raised."""


def read(row: Mapping[str, Any]) -> Found:
    """One model on one question."""
    state, task = row["state"], row["task"]
    question, history = task["prompt"].strip(), state["history"]
    if not question or not history[0]["content"].rstrip().endswith(question):
        raise Unusable("other_task", f"its prompt does not end in its task {question!r:.60}")
    turns, observations = _chat(history[1:])
    steps = tuple(_step(turn, observation) for turn, observation in zip(turns, observations, strict=True))
    proposals = [(i, answer) for i, turn in enumerate(turns) if (answer := _proposed(turn)) is not None]
    answered = bool(proposals) and proposals[-1][0] == len(turns) - 1 and not state["error"]
    if answered:
        steps = (*steps[:-1], Step(steps[-1].text, "", steps[-1].observation, "final"))
    return Found(question, gold(task["reference"]), steps, proposals[-1][1] if answered else None,
                 "answered" if answered else _stop(state, steps), tokens=state["token_counter"]["completion_tokens"],
                 claimed=state["success"], marks=tuple(_marks(turns, len(proposals) > 1, answered)))


def _chat(messages: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Turns, and the message that answered each; the last one's may be missing, and is empty then."""
    for i, message in enumerate(messages):
        if message["role"] != ("assistant", "user")[i % 2]:
            raise Unusable("missing_turn", f"message {i + 1} is the {message['role']}'s, as the one before it: a turn is missing")
    turns = [LABEL.sub("", message["content"]).removesuffix("\n") for message in messages[::2]]
    if not turns:
        raise Unusable("no_turn", "it has no turn of the model")
    observations = [message["content"] for message in messages[1::2]]
    return turns, [*observations, *[""] * (len(turns) - len(observations))]


def _proposed(turn: str) -> str | None:
    """The answer that MINT read in a turn; several of them on a line each."""
    return "\n".join(found.strip() for found in SOLUTION.findall(turn)) or None


def _step(turn: str, observation: str) -> Step:
    """What came of the last turn's code is not in the file; it is ``ok`` for want of a sign that it was not."""
    ran = "<solution>" not in turn
    action = action_of(turn, FORMS["mint"]) if ran else ""
    status: StepStatus = "ok"
    if "I don't understand your input" in observation or (ran and "<execute>" not in turn):
        action, status = "", "parse_error"
    elif ran and "TimeoutError: Timed out after" in observation:
        status = "timeout"
    elif ran and FAILED.search(observation.removeprefix("Observation:\n")):
        status = "exec_error"
    return Step(turn, action, observation, status)


def _stop(state: Mapping[str, Any], steps: Sequence[Step]) -> StopReason:
    if state["error"]:
        return "context_overflow" if "maximum context length" in state["error"] else "engine_error"
    return "parse_error" if steps[-1].status == "parse_error" else "max_steps"


def _marks(turns: Sequence[str], rejected: bool, answered: bool) -> list[str]:
    invented = [found.start() if (found := INVENTED_TEXT.search(turn)) else len(turn) for turn in turns]
    marks = {
        "told_wrong": answered and rejected,
        "invented_answer": answered and not SOLUTION.search(turns[-1][:invented[-1]]),
        "second_label": any(SECOND.search(turn[:end]) for turn, end in zip(turns, invented, strict=True)),
        INVENTED: any(end < len(turn) for turn, end in zip(turns, invented, strict=True)),
    }
    return [mark for mark, holds in marks.items() if holds]
