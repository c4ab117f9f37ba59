"""Many episodes, one engine: together, round by round, where the engine computes batches; each for itself where it is a server.

Episodes run in threads, which the caller gives: so it can end what an episode waits for before it waits for the threads.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import TypeVar

from smartad.engines.completer import Completer
from smartad.types import Ask, Completion, Request, UserError

T = TypeVar("T")
CANCEL_S = 5.0
"""How long requests that are given up may take to end."""
log = logging.getLogger(__name__)


def in_lock_step(completer: Completer, episodes: Sequence[Callable[[Ask], T]], threads: Executor) -> list[T]:
    """What each of ``episodes`` returns, in their order.  Each needs one of ``threads``, and asks as often as it likes.

    A round of requests goes to the engine when every episode that has not ended waits for an answer, sorted by episode:
    its composition does not depend on threads.  When the engine raises, every episode of the round gets a completion of
    ``error`` that says why; only a UserError ends the run.  When an episode raises, the others go on, and then its
    exception is raised (the first's).
    """
    table = _Table(len(episodes))
    loop = asyncio.new_event_loop()

    def play(number: int) -> T:
        try:
            return episodes[number](lambda request: table.ask(number, request))
        finally:
            table.leave()

    waiting: list[tuple[Request, _Answer]] = []
    try:
        results = [threads.submit(play, number) for number in range(len(episodes))]
        # Rounds run in the caller's thread: each thread that calls torch would get OpenMP threads of its own.
        while waiting := table.round():
            answers = loop.run_until_complete(_complete(completer, [request for request, _ in waiting]))
            for (_, answer), candidates in zip(waiting, answers, strict=True):
                answer.set_result(candidates)
    except BaseException:  # also Ctrl-C: threads that wait would wait forever
        table.close()
        for _, answer in waiting:
            answer.cancel()
        raise
    finally:
        loop.close()
    return [result.result() for result in results]


def as_they_come(completer: Completer, episodes: Iterable[Callable[[Ask], T]], threads: Executor,
                 in_flight: int) -> Generator[T, None, None]:
    """What ``episodes`` return, each as it ends; every request goes to the engine when it is made.

    No more than ``in_flight`` of ``episodes`` are taken before one of them has ended and what it returned was asked for.
    When the engine raises, the request gets a completion of ``error`` that says why; a UserError ends the run.  When an
    episode raises, no other begins, those in flight are waited for, and then its exception is raised (the first's).  Close
    the iterator (``contextlib.closing``), and nobody waits for an answer any more.
    """
    line, ended, playing, to_come = _Line(completer), SimpleQueue[Future[T]](), 0, iter(episodes)
    failed: BaseException | None = None
    try:
        while True:
            while failed is None and playing < in_flight and (episode := next(to_come, None)) is not None:
                threads.submit(episode, line.ask).add_done_callback(ended.put)
                playing += 1
            if not playing:
                break
            result = ended.get()
            playing -= 1
            if line.refused is not None:
                raise line.refused
            if (error := result.exception()) is not None:
                failed = failed or error
            else:
                yield result.result()
        if failed is not None:
            raise failed
    finally:
        line.close()


_Answer = Future[tuple[Completion, ...]]


async def _complete(completer: Completer, requests: list[Request]) -> list[tuple[Completion, ...]]:
    try:
        return await completer.complete(requests)
    except UserError:
        raise
    except Exception as error:
        log.exception("the engine failed on %d requests", len(requests))
        return [(Completion("", "error", None, detail=f"{type(error).__name__}: {error}"),)] * len(requests)


class _Table:
    """Who waits for an answer."""

    def __init__(self, players: int) -> None:
        self._changed = threading.Condition()
        self._playing = players
        self._waiting: dict[int, tuple[Request, _Answer]] = {}
        self._closed = False

    def ask(self, number: int, request: Request) -> tuple[Completion, ...]:
        answer = _Answer()
        with self._changed:
            if self._closed:
                raise InterruptedError("the run was interrupted")
            self._waiting[number] = (request, answer)
            self._changed.notify()
        return answer.result()

    def leave(self) -> None:
        with self._changed:
            self._playing -= 1
            self._changed.notify()

    def round(self) -> list[tuple[Request, _Answer]]:
        """The requests of everyone who still plays, once all of them wait; empty when nobody does."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) == self._playing)
            waiting = [self._waiting[number] for number in sorted(self._waiting)]
            self._waiting.clear()
            return waiting

    def close(self) -> None:
        with self._changed:
            self._closed = True
            for _, answer in self._waiting.values():
                answer.cancel()


class _Line:
    """Requests under way, in an event loop with a thread of its own."""

    def __init__(self, completer: Completer) -> None:
        self.refused: UserError | None = None
        """What the engine will not do, whoever asks."""
        self._completer = completer
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._thread.start()

    def ask(self, request: Request) -> tuple[Completion, ...]:
        with self._lock:
            if self._closed:
                raise InterruptedError("the run was interrupted")
            answer = asyncio.run_coroutine_threadsafe(self._one(request), self._loop)
        return answer.result()

    async def _one(self, request: Request) -> tuple[Completion, ...]:
        try:
            return (await _complete(self._completer, [request]))[0]
        except UserError as error:
            self.refused = self.refused or error
            raise

    def close(self) -> None:
        with self._lock:
            self._closed = True
        try:
            asyncio.run_coroutine_threadsafe(_give_up(), self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _give_up() -> None:
    """Cancel whatever else the loop is at."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CANCEL_S)
