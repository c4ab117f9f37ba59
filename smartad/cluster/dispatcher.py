"""The loop that keeps a plan going.

It is stateless: "done" is a record in the store and nothing else, so it may be killed at any instant and started again.
Each round submits what is missing, ready, not claimed by a live process and not in flight.
"""

import time
from collections.abc import Iterable
from typing import Literal

from smartad.cluster.base import POLL_S, Executor, Failure
from smartad.stage import StageSpec, upstream_first
from smartad.store import Store

MAX_ATTEMPTS = 3
"""How often a stage is tried whose worker died under it.  A stage that raised is not tried again in the same run."""

State = Literal["done", "running", "waiting", "failed", "blocked"]


class Dispatcher:
    """Brings plans to their end on an executor."""

    def __init__(self, store: Store, executor: Executor) -> None:
        self.store, self.executor = store, executor
        self.specs: dict[str, StageSpec] = {}
        self.states: dict[str, State] = {}
        self.failures: dict[str, Failure] = {}
        self.attempts: dict[str, int] = {}
        self.heights: dict[str, int] = {}

    def add(self, goals: Iterable[StageSpec]) -> None:
        """Want ``goals`` and whatever they need."""
        specs = upstream_first(list(goals))
        for spec in specs:
            if spec.fingerprint not in self.specs:
                self.specs[spec.fingerprint] = spec
                self.states[spec.fingerprint] = "done" if self.store.has(spec.fingerprint) else "waiting"
        for spec in reversed(specs):
            height = self.heights.setdefault(spec.fingerprint, 0)
            for parent in spec.inputs.values():
                self.heights[parent.fingerprint] = max(self.heights.get(parent.fingerprint, 0), height + 1)

    def open(self) -> list[str]:
        """What is neither finished nor hopeless."""
        return [f for f, state in self.states.items() if state in ("running", "waiting")]

    def step(self) -> None:
        """One round: learn what ended, submit what is ready."""
        for fingerprint, failure in self.executor.collect().items():
            self.attempts[fingerprint] = self.attempts.get(fingerprint, 0) + 1
            if failure.kind != "node" or self.attempts[fingerprint] >= MAX_ATTEMPTS:
                self.failures[fingerprint] = failure
                if failure.kind == "node":  # whoever failed itself has left a note
                    self.store.note_failure(fingerprint, failure.kind, failure.message)
        in_flight = self.executor.in_flight()
        ready = []
        for fingerprint, spec in self.specs.items():
            if self.states[fingerprint] != "done":
                self.states[fingerprint] = self._state(spec, in_flight or set())
                if self.states[fingerprint] == "waiting" and all(self._state_of(p) == "done" for p in spec.inputs.values()):
                    ready.append(spec)
        room = 0 if in_flight is None else len(ready) if self.executor.slots is None else self.executor.slots - len(in_flight)
        # What has the longest way to go first, so that nobody waits for it at the end.
        batch = sorted(ready, key=lambda spec: -self.heights[spec.fingerprint])[:max(0, room)]
        for spec in batch:
            self.states[spec.fingerprint] = "running"
        if batch:
            self.executor.submit(batch)
        elif not in_flight:  # others are at it: there is nobody of ours to wait for
            time.sleep(POLL_S)

    def _state_of(self, spec: StageSpec) -> State:
        return self.states[spec.fingerprint]

    def _state(self, spec: StageSpec, in_flight: set[str]) -> State:
        if self.store.has(spec.fingerprint):
            self.failures.pop(spec.fingerprint, None)
            return "done"
        if spec.fingerprint in self.failures:
            return "failed"
        if any(self._state_of(parent) in ("failed", "blocked") for parent in spec.inputs.values()):
            return "blocked"
        if spec.fingerprint in in_flight or self.store.claimed(spec.fingerprint):
            return "running"
        return "waiting"
