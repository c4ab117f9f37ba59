"""What collect and evaluate have in common: an agent on many (question, sample) pairs, and what came of it."""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from smartad.agents.limits import CodeLimits
from smartad.dialect import DIALECTS, PROMPTS, stop_strings
from smartad.records import append_jsonl, read_partial_jsonl, write_jsonl
from smartad.stage import Metrics, Runtime
from smartad.types import Ask, Choices, Completion, Question, Request, TeacherChoices, Trajectory, UserError

if TYPE_CHECKING:
    from smartad.agents.codeact import Setup
    from smartad.agents.executor import Interpreters
    from smartad.engines.completer import Completer

log = logging.getLogger(__name__)
ROWS = "trajectories.jsonl"
TOP_LOGPROBS = "top_logprobs.jsonl"
Episode = tuple[Question, int]
"""(question, sample)."""


class EpisodeConfig(Protocol):
    """The part of a stage's config that decides how an episode goes."""

    @property
    def dialect(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def temperature(self) -> float: ...
    @property
    def max_steps(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def top_k(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def code(self) -> CodeLimits: ...


def check(config: EpisodeConfig, stage: str) -> None:
    """Raise UserError for a number that makes no sense, naming it ``stage.field``."""
    for name in ("max_steps", "max_tokens", "top_k", "batch_size"):
        if getattr(config, name) < 1:
            raise UserError(f"{stage}.{name} must be at least 1, got {getattr(config, name)}")
    if not 0 <= config.temperature < float("inf"):
        raise UserError(f"{stage}.temperature must be a finite number of at least 0, got {config.temperature}")


def run_episodes(config: EpisodeConfig, questions: Sequence[Question], samples: int, completer: "Completer",
                 index: Path | None, out: Path, runtime: Runtime, top_logprobs: int | None = None) -> list[Trajectory]:
    """Every question ``samples`` times, into ``out``/trajectories.jsonl, in the order of the questions, then samples.

    ``config.batch_size`` episodes go in lock-step, and their rows are written together.  A batch that a kill left
    incomplete is run again as a whole: its composition decides the last digits of what its model computes.
    ``top_logprobs``: keep so many of the likeliest tokens at each token, in ``out``/top_logprobs.jsonl.

    Raises UserError when ``out`` holds rows of something else, RuntimeError when the engine failed in a whole batch; a batch
    in which it failed for some is kept, and they are ``engine_error``.
    """
    from smartad.agents.executor import Interpreters

    setup = _setup(config, index, runtime)
    episodes = list(product(questions, range(samples)))
    rows = _kept(out / ROWS, episodes, config.batch_size)
    if top_logprobs is not None:
        write_jsonl(out / TOP_LOGPROBS, read_partial_jsonl(out / TOP_LOGPROBS, TeacherChoices)[:len(rows)])
    # Threads outside: when the run ends early, they are waited for after what their code runs in has ended.
    with ThreadPoolExecutor(config.batch_size, thread_name_prefix="episode") as threads, \
            Interpreters(config.code) as interpreters:
        for start in range(len(rows), len(episodes), config.batch_size):
            batch = episodes[start:start + config.batch_size]
            played, choices = _play(batch, setup, completer, threads, interpreters, top_logprobs)
            if top_logprobs is not None:
                append_jsonl(out / TOP_LOGPROBS, choices)  # first: no trajectory is without them after a kill
            append_jsonl(out / ROWS, played)
            rows += played
            runtime.progress(len(rows), len(episodes))
            runtime.report(len(rows), answered=_share_answered(played), seconds=_longest(played))
    return rows


def summary(rows: Sequence[Trajectory]) -> Metrics:
    """n, answered (share), tokens, seconds (summed over episodes, which run side by side); and how many episodes stopped, and
    how many steps went, which way (``stop/...`` and ``step/...``)."""
    stops = Counter(f"stop/{row.stop}" for row in rows)
    steps = Counter(f"step/{step.status}" for row in rows for step in row.steps)
    tokens, seconds = [row.tokens for row in rows], [row.seconds for row in rows]
    return {"n": len(rows), "answered": _share_answered(rows),
            **dict(sorted(stops.items())), **dict(sorted(steps.items())),
            "tokens": None if None in tokens else sum(t for t in tokens if t is not None),
            "seconds": None if None in seconds else round(sum(s for s in seconds if s is not None), 3)}


def seed_of(question_id: str, sample: int) -> int:
    """The sampling seed of an episode, 63 bits: of nothing else, so pools of different size share their samples."""
    return int.from_bytes(hashlib.sha256(f"{question_id}#{sample}".encode()).digest()[:8]) >> 1


def _kept(path: Path, episodes: Sequence[Episode], batch_size: int) -> list[Trajectory]:
    """The rows of complete batches that an earlier run left; others are cut off the file."""
    rows = read_partial_jsonl(path, Trajectory)
    expected = [(question.id, sample) for question, sample in episodes]
    if [(row.question_id, row.sample) for row in rows] != expected[:len(rows)]:
        raise UserError(f"{path} holds other episodes than this stage's; remove it to start over")
    whole = len(rows) if len(rows) == len(episodes) else len(rows) - len(rows) % batch_size
    if whole < len(rows):
        write_jsonl(path, rows[:whole])
    return rows[:whole]


def _play(batch: Sequence[Episode], setup: "Setup", completer: "Completer", threads: Executor, interpreters: "Interpreters",
          top_logprobs: int | None) -> tuple[list[Trajectory], list[TeacherChoices]]:
    """Raises RuntimeError when the engine answered nobody: that is no result."""
    from smartad.agents.codeact import solve
    from smartad.engines.lockstep import in_lock_step

    failures: list[str] = []

    def episode(question: Question, sample: int, ask: Ask) -> tuple[Trajectory, TeacherChoices]:
        said: list[Completion] = []

        def asked(request: Request) -> tuple[Completion, ...]:
            candidates = ask(replace(request, top_logprobs=top_logprobs))
            said.append(candidates[0])
            if candidates[0].finish == "error":
                log.warning("%s, sample %d: the engine failed: %s", question.id, sample, candidates[0].detail)
                failures.append(candidates[0].detail)
            return candidates

        row = solve(question, sample, seed_of(question.id, sample), setup, asked, interpreters)
        # A turn that could not be written is said last and is no step.
        choices = (_in_text(completion, step.text) for completion, step in zip(said, row.steps, strict=False))
        return row, TeacherChoices(question.id, sample, tuple(choices))

    rows = in_lock_step(completer, [partial(episode, question, sample) for question, sample in batch], threads)
    played = [row for row, _ in rows]
    if all(row.stop == "engine_error" for row in played):
        raise RuntimeError(f"the engine failed in all of {len(batch)} episodes: {failures[0]}")
    return played, [choices for _, choices in rows]


def _in_text(completion: Completion, text: str) -> tuple[Choices, ...]:
    """The choices up to where a step's text departs from what was generated: blanks are taken off it, and markers completed."""
    generated = completion.text + (completion.stopped_by or "")
    same = next((i for i, (a, b) in enumerate(zip(generated, text, strict=False)) if a != b), min(len(generated), len(text)))
    return tuple(c for c in completion.choices if c.end <= same and (c.start < c.end or generated == text))


def _setup(config: EpisodeConfig, index: Path | None, runtime: Runtime) -> "Setup":
    from smartad.agents.codeact import Setup, no_search
    from smartad.engines import retrieval

    search: Callable[[str], str] = no_search
    if index is not None:
        search = retrieval.tool(retrieval.connect(index, runtime), config.top_k)
        runtime.note(retriever=runtime.retriever or "in-process")
    form = DIALECTS[config.dialect]
    return Setup(PROMPTS[config.prompt], form, config.max_steps, search, stop_strings(form), config.max_tokens,
                 config.temperature, top_p=1.0)


def _longest(rows: Sequence[Trajectory]) -> float:
    return max(row.seconds for row in rows if row.seconds is not None)


def _share_answered(rows: Sequence[Trajectory]) -> float | None:
    return sum(row.stop == "answered" for row in rows) / len(rows) if rows else None
