"""One question, one CodeAct episode: smolagents' CodeAgent, with the dialect's words and a process for the code.

smolagents runs the loop.  Through its seams it is given our text in place of its own: the model hands it the block that
the dialect found, and the messages are those of ``dialect.chat``, so what is scored and trained on is what a model saw.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from smolagents import CodeAgent, LogLevel, Tool
from smolagents.agents import EMPTY_PROMPT_TEMPLATES
from smolagents.memory import ActionStep
from smolagents.models import ChatMessage, MessageRole, Model
from smolagents.utils import AgentGenerationError, AgentParsingError

from smartad import dialect
from smartad.agents.executor import ChildExecutor, CodeError, Interpreters
from smartad.dialect import Dialect
from smartad.types import Ask, Completion, Message, Question, Request, Step, StopReason, Trajectory

Search = Callable[[str], str]
NO_BLOCK = "(no block)"
"""Handed to smolagents for a turn without code: it cannot take this for Python, as it would take ``42``."""


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
    top_p: float


def no_search(query: str) -> str:
    """web_search where there is nothing to search."""
    return "There is no knowledge base to search."


def solve(question: Question, sample: int, seed: int, setup: Setup, ask: Ask, interpreters: Interpreters) -> Trajectory:
    """Run the agent on ``question`` until it answers, runs out of steps, or its engine gives up.

    ``seed`` is that of every request, and of ``random`` in the code.  ``stop``: ``parse_error`` when the last of
    ``max_steps`` turns held no code; ``context_overflow`` and ``engine_error`` end the episode at the turn that could not be
    written.  Nothing is asked of the model beyond ``max_steps`` turns (strict pass@1).  Raises what is not the model's
    doing: RuntimeError when the interpreter server is gone.
    """
    started = time.monotonic()
    model = _TurnModel(ask, setup, seed)
    agent = _Agent(question, setup, model, ChildExecutor(interpreters, seed))
    try:
        with agent:
            agent.run(question.text)
    except AgentGenerationError:
        if model.failed is None:
            raise
    answer = agent.python_executor.last.output if agent.turns and agent.turns[-1].status == "final" else None
    stop = _stop(agent.turns, model.failed)
    return Trajectory(question.id, sample, tuple(agent.turns), answer, stop, model.tokens, round(time.monotonic() - started, 3),
                      model.failed.detail if model.failed and stop == "engine_error" else "")


def _stop(turns: Sequence[Step], failed: Completion | None) -> StopReason:
    if failed is not None:
        return "context_overflow" if failed.finish == "context_overflow" else "engine_error"
    return {"final": "answered", "parse_error": "parse_error"}.get(turns[-1].status, "max_steps")  # type: ignore[return-value]


class _TurnModel(Model):
    """smolagents' model seam."""

    def __init__(self, ask: Ask, setup: Setup, seed: int) -> None:
        super().__init__(model_id="smartad")
        self.failed: Completion | None = None
        self.tokens: int | None = 0
        self._ask, self._setup, self._seed = ask, setup, seed

    def generate(self, messages: list[ChatMessage], stop_sequences: list[str] | None = None, **_: Any) -> ChatMessage:
        """A turn: as ``raw`` what the model wrote, as ``content`` the code in it.  Raises when the engine gave up."""
        setup = self._setup
        chat: tuple[Message, ...] = tuple({"role": m.role.value, "content": m.content} for m in messages)
        (completion,) = self._ask(Request(chat, setup.stop, setup.max_tokens, setup.temperature, self._seed, top_p=setup.top_p))
        self.tokens = None if self.tokens is None or completion.tokens is None else self.tokens + completion.tokens
        if completion.finish in ("context_overflow", "error"):
            self.failed = completion
            raise RuntimeError(completion.detail or completion.finish)
        text = dialect.normalise(completion.text, completion.stopped_by, setup.dialect)
        action = dialect.action_of(text, setup.dialect)
        block = f"{setup.dialect.start}{action}{setup.dialect.end}" if action else NO_BLOCK
        return ChatMessage(MessageRole.ASSISTANT, block, raw=text)


class _Agent(CodeAgent):
    """smolagents' loop; ``turns`` is its memory."""

    def __init__(self, question: Question, setup: Setup, model: _TurnModel, executor: ChildExecutor) -> None:
        self.turns: list[Step] = []
        self._question, self._setup = question, setup
        super().__init__(tools=[_WebSearch(setup.search)], model=model, executor=executor, max_steps=setup.max_steps,
                         prompt_templates={**EMPTY_PROMPT_TEMPLATES, "system_prompt": "{{ custom_instructions }}"},
                         instructions=setup.system, code_block_tags=(setup.dialect.start, setup.dialect.end),
                         step_callbacks=[self._remember], verbosity_level=LogLevel.OFF)

    def write_memory_to_messages(self, summary_mode: bool = False) -> list[ChatMessage]:
        """The chat so far, without smolagents' notes about calls of tools."""
        next_turn = Step("", "", "", "ok")
        messages = dialect.chat(self._question, [*self.turns, next_turn], self._setup.system)[:-1]
        return [ChatMessage(MessageRole(m["role"]), m["content"]) for m in messages]

    def provide_final_answer(self, task: str) -> ChatMessage:
        """No answer: smolagents would ask the model for one more turn."""
        return ChatMessage(MessageRole.ASSISTANT, None)

    def _remember(self, step: ActionStep) -> None:
        if step.model_output_message is None:  # no turn was written
            return
        text, form = step.model_output_message.raw, self._setup.dialect
        action = dialect.action_of(text, form)
        if isinstance(step.error, AgentParsingError):
            self.turns.append(Step(text, action, dialect.complaint(dialect.no_code(form)), "parse_error"))
            return
        if step.error is not None and not isinstance(step.error.__context__, CodeError):
            raise step.error.__context__ or step.error
        ran = self.python_executor.last
        failed = step.error is not None
        observation = dialect.complaint(ran.error, ran.logs) if failed else dialect.observation(ran.logs, ran.output)
        self.turns.append(Step(text, action, observation, ran.status))


class _WebSearch(Tool):
    name = "web_search"
    description = "Searches the knowledge base."
    inputs = {"query": {"type": "string", "description": "what to look for"}}  # noqa: RUF012
    output_type = "string"

    def __init__(self, search: Search) -> None:
        super().__init__()
        self._search = search

    def forward(self, query: str) -> str:
        """The passages that fit ``query`` best, as text."""
        return self._search(str(query))
