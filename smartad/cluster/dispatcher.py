"""The loop that keeps a plan going.

It is stateless: "done" is a record in the store and nothing else, so it may be killed at any instant and started again.
Each round submits what is missing, ready, not claimed by a live process and not in flight.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

from smartad.cluster.base import PAUSE_S, POLL_S, Executor, Failure
from smartad.stage import StageSpec, upstream_first
from smartad.store import Store, StoreAway, answered

log = logging.getLogger(__name__)
NUMBERS = ("grade", "aggregate")
"""Stages that make numbers of what is finished, and take moments: done at once, so that a sweep has some before it ends."""
State = Literal["done", "running", "waiting", "failed", "blocked", "stopped"]
"""blocked: something it needs has failed.  stopped: nobody wants it any more."""
LOOKS = 100
"""Records of stages in flight that are looked for in a round: a thousand jobs must not cost a file server thousands a second."""


class Dispatcher:
    """Brings plans to their end on an executor."""

    def __init__(self, store: Store, executor: Executor, keep_failures: bool = False) -> None:
        self.store, self.executor = store, executor
        self.keep_failures = keep_failures
        """Failures of an earlier driver are final too: for a driver that is started again by itself."""
        self.specs: dict[str, StageSpec] = {}
        self.states: dict[str, State] = {}
        self.unfinished: dict[str, StageSpec] = {}
        """What a round looks at; inputs before users."""
        self.failures: dict[str, Failure] = {}
        self.noted: set[str] = set()
        """Failures that are written down in the store as well."""
        self.attempts: dict[str, int] = {}
        self.heights: dict[str, int] = {}
        self.goals: dict[str, StageSpec] = {}
        self.not_before: dict[str, float] = {}
        self.told: set[str] = set()
        """Classes of failure of which it was said that they are waited for."""
        self.rounds = 0
        self.away = False
        """The store's file system is gone: nothing is concluded until it is back."""

    def add(self, goals: Iterable[StageSpec]) -> None:
        """Want ``goals`` and whatever they need."""
        goals = list(goals)
        self.goals |= {goal.fingerprint: goal for goal in goals}
        specs = upstream_first(goals)
        for spec in specs:
            fingerprint = spec.fingerprint
            if fingerprint not in self.specs or self.states[fingerprint] == "stopped":
                self.specs[fingerprint] = spec
                self.states[fingerprint] = "done" if self.store.has(fingerprint) else "waiting"
                if self.states[fingerprint] != "done":
                    self.unfinished[fingerprint] = spec
                note = self.store.failure(fingerprint) if self.states[fingerprint] != "done" else None
                if note and note["final"] and self.keep_failures:
                    self.noted.add(fingerprint)
                    self.failures[fingerprint] = Failure(note["class"], note["message"])
                elif note and note["final"]:
                    self.store.forget_failure(fingerprint)
        for spec in reversed(specs):
            height = self.heights.setdefault(spec.fingerprint, 0)
            for parent in spec.inputs.values():
                self.heights[parent.fingerprint] = max(self.heights.get(parent.fingerprint, 0), height + 1)

    def withdraw(self, goals: Iterable[StageSpec]) -> None:
        """Nobody wants ``goals`` any more: stop what only they need."""
        for goal in goals:
            self.goals.pop(goal.fingerprint, None)
        wanted = {spec.fingerprint for spec in upstream_first(list(self.goals.values()))}
        doomed = {f for f, state in self.states.items() if state != "done" and f not in wanted}
        for fingerprint in doomed:
            self.states[fingerprint] = "stopped"
            self.failures.pop(fingerprint, None)
            self.noted.discard(fingerprint)
        self.executor.cancel(doomed)

    def open(self) -> list[str]:
        """What is neither finished nor hopeless."""
        return [f for f in self.unfinished if self.states[f] in ("running", "waiting")]

    def step(self) -> None:
        """One round: learn what ended, submit what is ready.  While the store is away, nothing."""
        with self.patient():
            if self._away():
                time.sleep(POLL_S)
            else:
                self._step()

    @contextmanager
    def patient(self) -> Iterator[None]:
        """What turns out to be without a store is broken off, to be begun again in a later round."""
        try:
            with answered(self.store.root):
                yield
        except StoreAway:
            self.away = True

    def _step(self) -> None:
        ended = self.executor.collect()
        if self._away():  # what a worker without a store says proves nothing
            return
        for fingerprint, failure in ended.items():
            if fingerprint in self.specs and self.states[fingerprint] != "stopped":
                self._failed(fingerprint, failure)
        in_flight = self.executor.in_flight()
        seen = self._in_turn(in_flight or set())
        ready = [spec for spec in self.unfinished.values() if self._update(spec, in_flight or set(), seen)]
        taken = []
        if in_flight is not None and ready:
            taken = self.executor.take(self._unclaimed(sorted(ready, key=self._turn)))
        for spec in taken:
            self.states[spec.fingerprint] = "running"
        self.unfinished = {f: spec for f, spec in self.unfinished.items() if self.states[f] not in ("done", "stopped")}
        if not taken and not in_flight:  # others are at it: there is nobody of ours to wait for
            time.sleep(POLL_S)

    def _turn(self, spec: StageSpec) -> tuple[bool, int]:
        """Numbers first; then what has the longest way to go, so that nobody waits for it at the end."""
        return spec.stage.name not in NUMBERS, -self.heights[spec.fingerprint]

    def _away(self) -> bool:
        self.away = not self.store.present()
        return self.away

    def _failed(self, fingerprint: str, failure: Failure) -> None:
        """Another try, or the end of it."""
        self.attempts[fingerprint] = self.attempts.get(fingerprint, 0) + 1
        if not failure.final and self.attempts[fingerprint] <= self.executor.retries.get(failure.kind, 0):
            pause_s = PAUSE_S.get(failure.kind, 0.0)
            self.not_before[fingerprint] = time.monotonic() + pause_s
            if pause_s and failure.kind not in self.told:  # many stages wait for the same server
                self.told.add(failure.kind)
                log.warning("%s: %s; this may pass, so it is tried again in %g s, at most %d times",
                            self.specs[fingerprint].stage.name, failure.message.partition("\n")[0], pause_s,
                            self.executor.retries[failure.kind])
            return
        self.store.note_failure(fingerprint, failure.kind, failure.message)
        if self.store.failure(fingerprint) is not None:  # which a full disk has no room for
            self.noted.add(fingerprint)
        self.failures[fingerprint] = failure

    def _in_turn(self, in_flight: set[str]) -> set[str]:
        """Those of ``in_flight`` that are finished, as far as it is their turn to be looked at."""
        turns = -(-len(in_flight) // LOOKS)
        self.rounds += 1
        return {f for at, f in enumerate(sorted(in_flight)) if (at + self.rounds) % turns == 0 and self.store.has(f)}

    def _update(self, spec: StageSpec, in_flight: set[str], finished: set[str]) -> bool:
        """Bring a stage's state up to date.  Whether it waits for nothing but its turn."""
        fingerprint = spec.fingerprint
        if self.states[fingerprint] in ("done", "stopped"):
            return False
        if fingerprint in self.failures:
            if fingerprint not in self.noted or self.store.failure(fingerprint) is not None:
                self.states[fingerprint] = "failed"
                return False
            # Somebody took the note away: `smartad retry`, or another driver's success.
            self.noted.remove(fingerprint)
            del self.failures[fingerprint]
            self.attempts.pop(fingerprint, None)
        parents = [self.states[parent.fingerprint] for parent in spec.inputs.values()]
        if any(state in ("failed", "blocked") for state in parents):
            self.states[fingerprint] = "blocked"
            return False
        if fingerprint in in_flight:
            self.states[fingerprint] = "done" if fingerprint in finished else "running"
            return False
        self.states[fingerprint] = "waiting"
        return all(state == "done" for state in parents)

    def _unclaimed(self, ready: list[StageSpec]) -> Iterator[StageSpec]:
        """Those that nobody has finished, and nobody is at.  Asked for one by one: each costs a look at the store."""
        for spec in ready:
            fingerprint = spec.fingerprint
            if self.store.has(fingerprint):
                self.states[fingerprint] = "done"
            elif self.store.claimed(fingerprint):
                self.states[fingerprint] = "running"
            elif self.not_before.get(fingerprint, 0.0) <= time.monotonic():
                yield spec
