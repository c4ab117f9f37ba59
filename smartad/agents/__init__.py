"""Agents: what a model is asked, what becomes of its answers, and the processes that its code runs in.

One module per agent with a function ``solve``: codeact, and cot.  Two options of theirs have a module each: first_thought begins
the first turn of a teacher, consistent lets several candidates of a turn vote.  To add an agent, write
``smartad/agents/<name>.py`` and list its name in AGENTS.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from smartad.dialect import Dialect
from smartad.types import Ask, Question, Trajectory, UserError

if TYPE_CHECKING:
    from smartad.agents.executor import Interpreters

AGENTS = ("codeact", "cot")
ACTING = ("codeact",)
"""Those of AGENTS that run code: they need interpreters, and so a wall."""
Search = Callable[[str], str]


@dataclass(frozen=True)
class Setup:
    """What all episodes of a stage share."""

    system: str
    dialect: Dialect
    max_steps: int
    search: Search
    stop: tuple[str, ...]
    """Where a turn ends."""
    max_tokens: int
    """Of one turn."""
    temperature: float
    top_p: float = 1.0
    candidates: int = 1
    """Of a turn.  More than one vote (``agents.consistent``)."""
    first_thought: bool = False
    """Whether the first turn begins with that of a chain of thought (``agents.first_thought``)."""
    fallback: bool = False
    """Whether a model that ran out of steps is asked once more, for the answer alone."""
    passages: bool = False
    """Whether the question is searched before anything is asked, and the chat begins with what is found."""


Solve = Callable[[Question, int, int, Setup, Ask, "Interpreters | None"], Trajectory]
"""(question, sample, seed, setup, ask, interpreters) to how it went; there are interpreters for those of ACTING.

Whatever the model or the engine does wrong is in the trajectory; what is raised is a fault of this program or its machine.
"""


def no_search(query: str) -> str:
    """web_search where there is nothing to search."""
    return "There is no knowledge base to search."


def check(name: str, where: str) -> None:
    """Raise UserError when there is no agent ``name``, which ``where`` asks for."""
    if name not in AGENTS:
        raise UserError(f"{where}={name!r}: no such agent; there are {', '.join(AGENTS)}. To add one, write "
                        f"smartad/agents/{name}.py and list it in AGENTS")


def get(name: str) -> Solve:
    """The agent ``name``.  What it needs is imported now, and not before."""
    return cast(Solve, importlib.import_module(f"{__name__}.{name}").solve)
