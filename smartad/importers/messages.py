"""Chats for fine-tuning: ``{"messages": [{"role", "content"}, ...]}``, with smolagents' task message as the first of the user.

Such rows have no gold, so nothing can be graded, and no observation after their last turn, so of what its code did nothing is
known: an episode whose last turn does not call ``final_answer`` is the beginning of one, and is refused.  The answer is known
where it is written as a literal (``final_answer("12")``).  A row whose ``supervision`` wants only its last turn learned from is
refused when it has more: smartad learns from every turn.
"""

import ast
import re
from collections.abc import Mapping
from typing import Any

from smartad.dialect import DIALECTS as FORMS
from smartad.dialect import INVENTED as INVENTED_TEXT
from smartad.dialect import action_of
from smartad.importers import INVENTED, INVENTED_MEANS, Found, Unusable, gold, text
from smartad.importers.agent_distillation import content
from smartad.types import Step, StepStatus

DIALECTS = ("smolagents", "paper")
REPEATS = True
MARKS = {"computed_answer": "its answer is what its code computes, which is not in the file", INVENTED: INVENTED_MEANS}
TASK = "New task:\n"
FORMAT = re.compile(r"\n\n(?:IMPORTANT: |For math problems that are not multiple-choice, ).*\Z", re.DOTALL)
"""What Agent Distillation and its forks write below a task."""


def read(row: Mapping[str, Any]) -> Found:
    """One chat."""
    messages = [(message["role"], content(message)) for message in row["messages"]]
    said = messages[1:] if messages[0][0] == "system" else messages
    roles = [role for role, _ in said]
    if roles != [("user", "assistant")[i % 2] for i in range(len(roles))] or len(roles) % 2:
        raise Unusable("other_role", f"its messages are of the {', '.join(roles)}, not of user and assistant in turn")
    if not said or not said[0][1].startswith(TASK):
        raise Unusable("other_task", f"its first message does not begin with {TASK!r}")
    if row.get("supervision") == "last_assistant_only" and len(said) > 2:
        raise Unusable("last_turn_only", "only its last turn is to be learned from, and smartad learns from every one")
    turns, observations = [t for _, t in said[1::2]], [*(t for _, t in said[2::2]), ""]
    form = FORMS[next((d for d in DIALECTS if action_of(turns[-1], FORMS[d])), DIALECTS[0])]
    call = _final_call(action_of(turns[-1], form))
    if call is None:
        raise Unusable("no_end", "its last turn does not answer: it is the beginning of an episode")
    answer = _literal(call)
    steps = tuple(Step(turn, action_of(turn, form), seen, "final" if i + 1 == len(turns) else _status(seen))
                  for i, (turn, seen) in enumerate(zip(turns, observations, strict=True)))
    marks = {"computed_answer": answer is None, INVENTED: any(INVENTED_TEXT.search(turn) for turn in turns)}
    return Found(FORMAT.sub("", said[0][1].removeprefix(TASK)).strip(), gold(row.get("answer")), steps, answer, "answered",
                 marks=tuple(mark for mark, holds in marks.items() if holds))


def _status(observation: str) -> StepStatus:
    if "Error:\n" not in observation:
        return "ok"
    return "parse_error" if "Error in code parsing" in observation else "exec_error"


def _final_call(code: str) -> ast.Call | None:
    """The call of ``final_answer`` in ``code``; None when there is none, or it is no Python."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return None
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
             and node.func.id == "final_answer" and len(node.args) == 1]
    return calls[-1] if calls else None


def _literal(call: ast.Call) -> str | None:
    try:
        return text(ast.literal_eval(call.args[0]))
    except ValueError:
        return None
