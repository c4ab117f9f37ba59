"""Before a retriever that many threads ask: equal queries are answered once, and those that come together go together."""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import Protocol

from smartad.types import Passage

TOGETHER_S = 0.003
"""Those that come within this time of one another are searched in one batch."""
BATCH = 256
REMEMBERED = 100_000
"""Answers kept, the least recently asked for go first: of three passages of 100 words each 200 MB."""
Answer = tuple[Passage, ...]


class Searcher(Protocol):
    """An index, or a way to one."""

    def search_all(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query at most ``k`` passages, the best first."""


class Front:
    """A cache of exact queries and a queue before ``searcher``, which is asked by one thread only."""

    def __init__(self, searcher: Searcher, remembered: int = REMEMBERED) -> None:
        self.asked = self.known = self.batches = 0
        """Queries; those of them that were answered, or being answered, already; calls of the searcher."""
        self._searcher, self._remembered = searcher, remembered
        self._answers: OrderedDict[tuple[str, int], Future[Answer]] = OrderedDict()
        self._waiting: list[tuple[int, str, Future[Answer]]] = []
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, "search")

    def search(self, query: str, k: int) -> list[Passage]:
        """At most ``k`` passages, the best first.  Raises what the searcher raised."""
        return list(self.ask(query, k).result())

    def ask(self, query: str, k: int) -> "Future[Answer]":
        """The same, to be waited for."""
        with self._lock:
            self.asked += 1
            if (answer := self._answers.get((query, k))) is not None:
                self.known += 1
                self._answers.move_to_end((query, k))
                return answer
            answer = Future()
            answer.set_running_or_notify_cancel()  # others may wait for it: whoever gives up does so alone
            self._answers[query, k] = answer
            self._waiting.append((k, query, answer))
            if len(self._answers) > self._remembered:
                self._answers.popitem(last=False)
        self._worker.submit(self._work)
        return answer

    def _work(self) -> None:
        if not self._waiting:  # an earlier call has taken them along
            return
        time.sleep(TOGETHER_S)
        with self._lock:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        for k, same in groupby(sorted(batch, key=lambda one: one[0]), key=lambda one: one[0]):
            asked = list(same)
            try:
                found = self._searcher.search_all([query for _, query, _ in asked], k)
                self.batches += 1
                for (_, _, answer), passages in zip(asked, found, strict=True):
                    answer.set_result(tuple(passages))
            except Exception as error:
                self._forget(k, [query for _, query, _ in asked])
                for _, _, answer in asked:
                    if not answer.done():
                        answer.set_exception(error)

    def _forget(self, k: int, queries: Sequence[str]) -> None:
        """It may go better the next time."""
        with self._lock:
            for query in queries:
                self._answers.pop((query, k), None)
