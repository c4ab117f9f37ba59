"""One question, one CodeAct episode: smolagents' CodeAgent, with the dialect's words and a process for the code.

smolagents runs the loop.  Through its seams it is given our text in place of its own: the model hands it the block that
the dialect found, and the messages are those of ``dialect.chat``, so what is scored and trained on is what a model saw.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from smolagents import CodeAgent, LogLevel, Tool
from smolagents.agents import EMPTY_PROMPT_TEMPLATES
from smolagents.memory import ActionStep
from smolagents.models import ChatMessage, MessageRole, Model
from smolagents.utils import AgentGenerationError, AgentParsingError

from smartad import dialect
from smartad.agents import Search, Setup
from smartad.agents.consistent import Voting
from smartad.agents.executor import ChildExecutor, CodeError, Interpreters
from smartad.agents.first_thought import ask_for_it
from smartad.types import Ask, Completion, Message, Question, Request, Step, StopReason, Trajectory

NO_BLOCK = "(no block)"
"""Handed to smolagents for a turn without code: it cannot take this for Python, as it would take ``42``."""


def solve(question: Question, sample: int, seed: int, setup: Setup, ask: Ask, interpreters: Interpreters) -> Trajectory:
    """Run the agent on ``question`` until it answers, runs out of steps, or its engine gives up.

    ``seed`` is that of every request, and of ``random`` in the code.  ``stop``: ``parse_error`` when the last of
    ``max_steps`` turns held no code; ``context_overflow`` and ``engine_error`` end the episode at the turn that could not be
    written.  Unless ``setup.fallback``, nothing is asked of the model beyond ``max_steps`` turns (strict pass@1).  Raises what
    is not the model's doing: RuntimeError when the interpreter server is gone.
    """
    started = time.monotonic()
    voting = Voting(ChildExecutor(interpreters, seed)) if setup.candidates > 1 else None
    executor = voting or ChildExecutor(interpreters, seed)
    model = _TurnModel(ask, setup, seed, voting)
    agent = _Agent(question, setup, model, executor)
    beginning = model.begin(question) if setup.first_thought else None
    try:
        if model.failed is None:
            with agent:
                agent.run(question.text)
    except AgentGenerationError as error:
        if model.failed is None:
            why = error.__cause__ or error  # candidates run while a turn is written, and a tool that is down says so by its type
            raise why from why.__cause__
    stop = _stop(agent, model.failed)
    return Trajectory(question.id, sample, tuple(agent.turns), agent.answer, stop, model.tokens,
                      round(time.monotonic() - started, 3),
                      model.failed.detail if model.failed and stop == "engine_error" else "",
                      first_thought=beginning, ballots=tuple(voting.ballots) if voting else ())


def _stop(agent: "_Agent", failed: Completion | None) -> StopReason:
    if failed is not None:
        return "context_overflow" if failed.finish == "context_overflow" else "engine_error"
    if agent.answer is not None:
        return "fallback" if agent.fell_back else "answered"
    return "parse_error" if agent.turns[-1].status == "parse_error" else "max_steps"


class _TurnModel(Model):
    """smolagents' model seam."""

    def __init__(self, ask: Ask, setup: Setup, seed: int, voting: Voting | None) -> None:
        super().__init__(model_id="smartad")
        self.failed: Completion | None = None
        self.tokens: int | None = 0
        self._ask, self._setup, self._seed, self._voting = ask, setup, seed, voting
        self._prefill = ""

    def begin(self, question: Question) -> str:
        """Have the first turn begin with the first thought of a chain of thought; that beginning."""
        self._prefill, completion = ask_for_it(question, self._seed, self._setup, self._ask)
        self._count([completion])
        return self._prefill

    def generate(self, messages: list[ChatMessage], stop_sequences: list[str] | None = None, **_: Any) -> ChatMessage:
        """A turn: as ``raw`` what the model wrote, as ``content`` the code in it.  Raises when the engine gave up."""
        texts = self.write(messages, self._setup.candidates)
        blocks = [self._block(text) for text in texts]
        elected = self._voting.elect(blocks, self._setup.dialect) if self._voting else 0
        return ChatMessage(MessageRole.ASSISTANT, blocks[elected], raw=texts[elected])

    def write(self, messages: list[ChatMessage], candidates: int = 1) -> list[str]:
        """What the model writes after ``messages``, as it is kept: its candidates.  Raises when the engine gave up."""
        setup, prefill = self._setup, self._prefill
        self._prefill = ""
        chat: tuple[Message, ...] = tuple({"role": m.role.value, "content": m.content} for m in messages)
        written = self._count(self._ask(Request(chat, setup.stop, setup.max_tokens, setup.temperature, self._seed,
                                                top_p=setup.top_p, n=candidates, prefill=prefill)))
        if self.failed is not None:
            raise RuntimeError(self.failed.detail or self.failed.finish)
        return [dialect.normalise(prefill + one.text, one.stopped_by, setup.dialect) for one in written]

    def _block(self, text: str) -> str:
        form = self._setup.dialect
        action = dialect.action_of(text, form)
        return f"{form.start}{action}{form.end}" if action else NO_BLOCK

    def _count(self, completions: Sequence[Completion]) -> list[Completion]:
        """Those that were written; without any the engine gave up."""
        for one in completions:
            self.tokens = None if self.tokens is None or one.tokens is None else self.tokens + one.tokens
        written = [one for one in completions if one.finish not in ("context_overflow", "error")]
        self.failed = self.failed or (None if written else completions[0])
        return written


class _Agent(CodeAgent):
    """smolagents' loop; ``turns`` is its memory."""

    def __init__(self, question: Question, setup: Setup, model: _TurnModel, executor: ChildExecutor | Voting) -> None:
        self.turns: list[Step] = []
        self.answer: str | None = None
        self.fell_back = False
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
        """Called when the steps ran out.  Unless it is wanted, nothing is asked here, other than in smolagents."""
        if self._setup.fallback:
            self.fell_back = True
            last = self.turns[-1]
            self.turns[-1] = replace(last, observation=f"{last.observation}\n\n{dialect.LAST_CALL}")
            try:
                text = self.model.write(self.write_memory_to_messages())[0]
            except RuntimeError:
                if self.model.failed is None:
                    raise
            else:
                self.answer = dialect.stated_answer(text) or text.strip() or None
                self.turns.append(Step(text, "", "", "final" if self.answer else "parse_error"))
        return ChatMessage(MessageRole.ASSISTANT, self.answer)

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
        self.answer = ran.output if ran.status == "final" else None


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
