"""What a place that runs stages must do, what it is told, and what it says back."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from smartad.redact import guarded, redact
from smartad.runner import classify, run_one
from smartad.site import EngineSite
from smartad.stage import Runtime, StageSpec
from smartad.store import Store, StoreAway, StoreError
from smartad.tracking import Tracking

POLL_S = 0.1
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

RETRIES: Mapping[str, int] = {"node": 2, "timeout": 4, "cancelled": 2, "disk": 4, "engine": 2,
                              "oom": 0, "nan": 0, "user error": 0, "error": 0}
"""Class of failure -> how often a stage is tried again.  What would fail the same way again is not."""
PAUSE_S: Mapping[str, float] = {"disk": 15.0, "engine": 15.0}
"""Class of failure -> seconds before the next try, for what passes by itself."""


@dataclass(frozen=True)
class Failure:
    """Why a stage is not finished."""

    kind: str
    """A key of RETRIES."""
    message: str
    final: bool = False
    """Trying again would not help, whatever the class."""


@dataclass(frozen=True)
class Job:
    """What a worker needs to run any stage of a plan."""

    store: Store
    runtime: Runtime
    tracking: Tracking
    code: Path | None = None
    """Folder to import smartad from; None is where it is installed."""
    engines: Mapping[str, EngineSite] = field(default_factory=dict)
    """Where a stage asks its model, by the stage's name; in its own process if it is not here."""

    def run(self, spec: StageSpec) -> Failure | None:
        """Run ``spec``; None when it is finished or another process is at it."""
        try:
            with guarded():
                run_one(spec, self.store, replace(self.runtime, engine=self.engines.get(spec.stage.name)), self.tracking)
        except Exception as error:
            full = isinstance(error, StoreError) and not isinstance(error, StoreAway)  # or read-only: that does not pass
            return Failure(classify(error), redact(str(error)) or type(error).__name__, final=full)
        return None

    def variables(self) -> dict[str, str]:
        """What must be in the environment before Python starts: libraries read it when they are imported."""
        path = [str(self.code) if self.code else "", os.environ.get("PYTHONPATH", "")]
        # Without SAFEPATH, `python -m` would look into the folder it is started in before all others: the checkout.
        return {**{name: str(self.runtime.threads) for name in THREADS}, "PYTHONPATH": os.pathsep.join(filter(None, path)),
                **({"PYTHONSAFEPATH": "1"} if self.code else {})}


@contextmanager
def environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """``values`` in the environment for a while; None takes one away."""
    before = {name: os.environ.get(name) for name in values}

    def put(variables: Mapping[str, str | None]) -> None:
        for name, value in variables.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    put(values)
    try:
        yield
    finally:
        put(before)


class Executor(Protocol):
    """A place that runs stages.  It knows no plan and no order."""

    retries: Mapping[str, int]
    """RETRIES, or what this place can do about a failure instead."""

    def take(self, ready: Iterable[StageSpec]) -> list[StageSpec]:
        """Start as many of ``ready``, whose inputs are finished, as there is room for; the first ones first.

        ``ready`` is asked for no more than that.  Returns what was started.
        """

    def in_flight(self) -> set[str] | None:
        """Fingerprints queued or running; None when it cannot be told now, and then nothing is lost."""

    def collect(self) -> dict[str, Failure]:
        """Failures since the last call, by fingerprint."""

    def cancel(self, fingerprints: set[str]) -> None:
        """Stop those of ``fingerprints`` that are in flight: nobody wants them any more."""

    def close(self) -> None:
        """The driver leaves.  Nothing is left behind that would not end by itself."""


def memory_gb() -> float:
    """Of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
