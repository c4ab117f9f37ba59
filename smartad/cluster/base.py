"""What a place that runs stages must do, what it is told, and what it says back."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from smartad.runner import classify, run_one
from smartad.stage import Runtime, StageSpec
from smartad.store import Store
from smartad.tracking import Tracking
from smartad.types import UserError

POLL_S = 0.1
STAGES = ("prepare", "index", "collect", "grade", "score", "select", "train", "evaluate", "aggregate")
"""In the order of the pipeline."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class ClusterConfig:
    """One file in slurm/: where stages run and what each may use."""

    cluster: Literal["workers", "local"] = "workers"
    """workers: processes of this one that live as long as it does.  local: a submitit job per stage, on this machine."""
    slots: int = 0
    """Stages at once; 0 is one per two gigabytes of memory and at most one per core."""
    threads: int = 1
    """CPU threads of a stage.  One is fastest for models as small as the toy student."""
    gpus: int = 0
    """GPUs to share out: each stage at once gets one of them.  0 is the CPU."""
    checkpoint_every: int = 100
    """Optimizer steps between the points that a killed training goes on from."""
    default: dict[str, Any] = field(default_factory=dict)
    """submitit parameters of every stage (timeout_min, mem_gb, gpus_per_node, slurm_partition, ...)."""
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The same by stage, over ``default``."""

    def __post_init__(self) -> None:
        if self.slots < 0 or self.threads < 1:
            raise UserError(f"slots={self.slots} must be at least 0 and threads={self.threads} at least 1")
        if self.gpus < 0 or self.checkpoint_every < 1:
            raise UserError(f"gpus={self.gpus} must be at least 0 and checkpoint_every={self.checkpoint_every} at least 1")
        if unknown := sorted(self.stages.keys() - set(STAGES)):
            raise UserError(f"stages.{unknown[0]}: there is no such stage; there are {', '.join(STAGES)}")


@dataclass(frozen=True)
class Failure:
    """Why a stage is not finished."""

    kind: str
    message: str


@dataclass(frozen=True)
class Job:
    """What a worker needs to run any stage of a plan."""

    store: Store
    runtime: Runtime
    tracking: Tracking

    def run(self, spec: StageSpec) -> Failure | None:
        """Run ``spec``; None when it is finished or another process is at it."""
        try:
            run_one(spec, self.store, self.runtime, self.tracking)
        except Exception as error:
            return Failure(classify(error), str(error) or type(error).__name__)
        return None

    @contextmanager
    def environment(self, gpu: int | None = None) -> Iterator[None]:
        """Processes started inside have the runtime's number of threads, and only that GPU, in their environment.

        Libraries read it when they are imported, so it must be there before a process begins.
        """
        wanted = {name: str(self.runtime.threads) for name in THREADS}
        if gpu is not None:
            wanted["CUDA_VISIBLE_DEVICES"] = str(gpu)
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


class Executor(Protocol):
    """A place that runs stages.  It knows no plan and no order."""

    slots: int | None
    """How many specs it takes at once; None: it has a queue of its own."""

    def submit(self, specs: Sequence[StageSpec]) -> None:
        """Start ``specs``, whose inputs are finished.  At most the free slots."""

    def in_flight(self) -> set[str] | None:
        """Fingerprints queued or running; None when it cannot be told now, and then nothing is lost."""

    def collect(self) -> dict[str, Failure]:
        """Failures since the last call, by fingerprint."""

    def close(self) -> None:
        """Stop what runs, and leave no process behind."""
