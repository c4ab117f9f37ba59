"""Many episodes, one engine: each waits for its turn, and when all wait, they are answered together."""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from smartad.engines.completer import Completer
from smartad.types import Completion, Request, UserError

T = TypeVar("T")
Ask = Callable[[Request], Completion]
log = logging.getLogger(__name__)


def in_lock_step(completer: Completer, episodes: Sequence[Callable[[Ask], T]]) -> list[T]:
    """What each of ``episodes`` returns, in their order.  Each runs in a thread and calls ``ask`` as often as it likes.

    A round of requests goes to the engine when every episode that has not ended waits for an answer, sorted by episode:
    its composition does not depend on threads.  When the engine raises, every episode of the round gets a completion of
    ``error`` that says why; only a UserError ends the run.  When an episode raises, the others go on, and then its
    exception is raised (the first's).
    """
    table = _Table(len(episodes))

    def play(number: int) -> T:
        try:
            return episodes[number](lambda request: table.ask(number, request))
        finally:
            table.leave()

    with ThreadPoolExecutor(max(1, len(episodes)), thread_name_prefix="episode") as threads:
        waiting: list[tuple[Request, Future[Completion]]] = []
        try:
            results = [threads.submit(play, number) for number in range(len(episodes))]
            # Rounds run in the caller's thread: each thread that calls torch would get OpenMP threads of its own.
            while waiting := table.round():
                answers = _complete(completer, [request for request, _ in waiting])
                for (_, answer), completion in zip(waiting, answers, strict=True):
                    answer.set_result(completion)
        except BaseException:  # also Ctrl-C: threads that wait would wait forever
            table.close()
            for _, answer in waiting:
                answer.cancel()
            raise
    return [result.result() for result in results]


def _complete(completer: Completer, requests: list[Request]) -> list[Completion]:
    try:
        return completer.complete(requests)
    except UserError:
        raise
    except Exception as error:
        log.exception("the engine failed on %d requests", len(requests))
        return [Completion("", "error", None, detail=f"{type(error).__name__}: {error}")] * len(requests)


class _Table:
    """Who waits for an answer."""

    def __init__(self, players: int) -> None:
        self._changed = threading.Condition()
        self._playing = players
        self._waiting: dict[int, tuple[Request, Future[Completion]]] = {}
        self._closed = False

    def ask(self, number: int, request: Request) -> Completion:
        answer: Future[Completion] = Future()
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

    def round(self) -> list[tuple[Request, Future[Completion]]]:
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
