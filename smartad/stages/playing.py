"""Episodes at an engine: batch by batch where it computes batches, else many at a time; and what becomes of its failures."""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

from smartad.agents import Setup, Solve
from smartad.dialect import Dialect, normalise
from smartad.types import Ask, Choices, Completion, Question, Request, Step, TeacherChoices, Trajectory

if TYPE_CHECKING:
    from smartad.agents.executor import Interpreters
    from smartad.engines.completer import Completer

log = logging.getLogger(__name__)
PAUSES_S = (15.0, 60.0)
"""Before episodes are run again in which the engine failed for now.  Its own client has already asked again by then."""
HOPELESS = 16
"""So many episodes in a row, or as many as are in flight: then the engine is gone."""
Episode = tuple[Question, int]
"""(question, sample)."""


class EngineFailed(ConnectionError):
    """The engine failed too often for this to be a result.  What is finished is kept."""


@dataclass(frozen=True)
class Played:
    """How an episode went."""

    row: Trajectory
    choices: TeacherChoices
    transient: bool = False
    """The engine failed, and may not the next time."""


class Tally:
    """Tokens that the engine has generated, for whatever became of them."""

    def __init__(self) -> None:
        self.tokens = 0
        self.uncounted = False
        """The engine does not tell how many."""
        self._lock = threading.Lock()

    def add(self, completions: Sequence[Completion]) -> int:
        """How many there are in ``completions``; those that are not counted are none."""
        counted = sum(completion.tokens or 0 for completion in completions)
        with self._lock:
            self.tokens += counted
            self.uncounted |= any(completion.tokens is None and completion.finish != "error" for completion in completions)
        return counted


class Player:
    """Plays episodes of one agent and set-up, at one engine, in given threads."""

    def __init__(self, solve: Solve, setup: Setup, completer: "Completer", interpreters: "Interpreters | None", threads: Executor,
                 seed_of: Callable[[str, int], int], top_logprobs: int | None, episode_tokens: int | None) -> None:
        self.tally = Tally()
        self.playing = 0
        """Episodes in flight."""
        self._solve = solve
        self._setup, self._completer, self._interpreters, self._threads = setup, completer, interpreters, threads
        self._seed_of, self._top_logprobs, self._episode_tokens = seed_of, top_logprobs, episode_tokens

    def batch(self, episodes: Sequence[Episode]) -> list[Played]:
        """In lock-step, in their order.  Raises RuntimeError when the engine answered nobody: that is no result."""
        from smartad.engines.lockstep import in_lock_step

        self.playing = len(episodes)
        played = in_lock_step(self._completer, [partial(self._episode, episode) for episode in episodes], self._threads)
        self.playing = 0
        failed = [one.row for one in played if one.row.stop == "engine_error"]
        if len(failed) == len(played):
            raise RuntimeError(f"the engine failed in all of {len(episodes)} episodes: {failed[0].reason}")
        if failed:
            log.warning("the engine failed in %d of %d episodes; first: %s", len(failed), len(played), failed[0].reason)
        return played

    def each(self, episodes: Sequence[Episode], in_flight: int, enough: Callable[[], bool]) -> Iterator[Played]:
        """As they end, ``in_flight`` at a time, until it is ``enough``: then no other begins.  Those in which the engine
        failed for now are run again when the others have ended, after a pause, as often as there are PAUSES_S.

        Raises EngineFailed when it fails again and again.
        """
        for pause_s in (*PAUSES_S, None):
            again: list[Episode] = []
            failed_in_a_row, first = 0, ""
            with closing(self._stream(takewhile(lambda _: not enough(), episodes), in_flight)) as ended:
                for episode, played in ended:
                    failed_in_a_row = failed_in_a_row + 1 if played.row.stop == "engine_error" else 0
                    if failed_in_a_row and not first:  # one line a round: a server that is gone fails in all of them
                        first = f"{played.row.question_id}, sample {played.row.sample}: {played.row.reason}"
                        log.warning("the engine failed in %s", first)
                    if failed_in_a_row >= max(HOPELESS, in_flight):
                        raise EngineFailed(f"the engine failed in {failed_in_a_row} episodes in a row, at last: "
                                           f"{played.row.reason}. What is finished is kept; run the same command again to go on")
                    if played.transient and pause_s is not None:
                        again.append(episode)
                    else:
                        yield played
            if not again or pause_s is None or enough():
                return
            log.warning("the engine failed in %d episodes, which are run again in %g s; first: %s", len(again), pause_s, first)
            time.sleep(pause_s)
            episodes = again

    def _stream(self, episodes: Iterable[Episode], in_flight: int) -> Generator[tuple[Episode, Played], None, None]:
        from smartad.engines.lockstep import as_they_come

        def begun() -> Iterator[Callable[[Ask], tuple[Episode, Played]]]:
            for episode in episodes:
                self.playing += 1
                yield lambda ask, episode=episode: (episode, self._episode(episode, ask))  # type: ignore[misc]

        with closing(as_they_come(self._completer, begun(), self._threads, in_flight)) as ended:
            for episode, played in ended:
                self.playing -= 1
                yield episode, played

    def _episode(self, episode: Episode, ask: Ask) -> Played:
        question, sample = episode
        said: list[tuple[Request, tuple[Completion, ...]]] = []
        tokens, spent = 0, False

        def asked(request: Request) -> tuple[Completion, ...]:
            nonlocal tokens, spent
            if self._episode_tokens is not None and tokens >= self._episode_tokens:
                spent = True
                return (Completion("", "context_overflow", 0),)  # which every agent takes for the end
            candidates = ask(replace(request, top_logprobs=self._top_logprobs))
            said.append((request, candidates))
            tokens += self.tally.add(candidates)
            return candidates

        row = self._solve(question, sample, self._seed_of(question.id, sample), self._setup, asked, self._interpreters)
        if spent and row.stop == "context_overflow":
            row = replace(row, stop="budget")
        if row.stop == "engine_error":
            row = replace(row, tokens=None if self.tally.uncounted else tokens)  # what failed was not written, so not uncounted
        choices = tuple(choices_of(row.steps, said, self._setup.dialect)) if self._top_logprobs is not None else ()
        transient = row.stop == "engine_error" and any(c.transient for _, candidates in said[-1:] for c in candidates)
        return Played(row, TeacherChoices(question.id, sample, choices), transient)


def choices_of(steps: Sequence[Step], said: Iterable[tuple[Request, tuple[Completion, ...]]],
               form: Dialect) -> Iterator[tuple[Choices, ...]]:
    """Of each step, the choices in the completion it was made of: what else was said (other candidates, a chain of thought
    before the first turn) became no step."""
    left = iter(said)
    for step in steps:
        yield next((_in_text(completion, request.prefill, step.text) for request, candidates in left for completion in candidates
                    if normalise(request.prefill + completion.text, completion.stopped_by, form) == step.text), ())


def _in_text(completion: Completion, prefill: str, text: str) -> tuple[Choices, ...]:
    """The choices up to where a step's text departs from what was generated: blanks are taken off it, and markers completed."""
    generated = prefill + completion.text + (completion.stopped_by or "")
    same = next((i for i, (a, b) in enumerate(zip(generated, text, strict=False)) if a != b), min(len(generated), len(text)))
    placed = (replace(c, start=c.start + len(prefill), end=c.end + len(prefill)) for c in completion.choices)
    return tuple(c for c in placed if c.end <= same and (c.start < c.end or generated == text))
