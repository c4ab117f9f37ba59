"""Where stages run, and the loop that keeps a plan going there.

The loop is stateless: "done" is a record in the store and nothing else, so it may be killed at any instant and started
again.  Each round submits what is missing, ready, not claimed by a live process and not in flight.
"""

import ctypes
import dataclasses
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, Protocol

from smartad.runner import classify, run_one
from smartad.stage import Runtime, StageSpec, upstream_first
from smartad.store import FAILURE, Store
from smartad.tracking import Tracking
from smartad.types import UserError

MAX_ATTEMPTS = 3
"""How often a stage is tried whose worker died under it.  A stage that raised is not tried again in the same run."""
POLL_S = 0.1


@dataclass(frozen=True)
class ClusterConfig:
    """One file in slurm/: where stages run and what each may use."""

    cluster: Literal["workers", "local"] = "workers"
    """workers: processes of this one that live as long as it does.  local: a submitit job per stage, on this machine."""
    slots: int = 0
    """Stages at once; 0 is one per two gigabytes of memory and at most one per core."""
    threads: int = 1
    """CPU threads of a stage.  One is fastest for models as small as the toy student."""
    default: dict[str, Any] = field(default_factory=dict)
    """submitit parameters of every stage (timeout_min, mem_gb, gpus_per_node, slurm_partition, ...)."""
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The same by stage, over ``default``."""

    def __post_init__(self) -> None:
        if self.slots < 0 or self.threads < 1:
            raise UserError(f"slots={self.slots} must be at least 0 and threads={self.threads} at least 1")


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


class Inline:
    """This process, one stage at a time: for debuggers."""

    slots: int | None = 1

    def __init__(self, job: Job) -> None:
        self.job, self.failures = job, dict[str, Failure]()

    def submit(self, specs: Sequence[StageSpec]) -> None:
        for spec in specs:
            if failure := self.job.run(spec):
                self.failures[spec.fingerprint] = failure

    def in_flight(self) -> set[str]:
        return set()

    def collect(self) -> dict[str, Failure]:
        failures, self.failures = self.failures, {}
        return failures

    def close(self) -> None:
        pass


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    spec: StageSpec | None = None


class Workers:
    """``slots`` processes that import torch once and run one stage after the other.  They die with this process."""

    def __init__(self, job: Job, slots: int) -> None:
        self.job = job
        self.slots: int | None = slots
        self.workers: list[_Worker] = []
        self.failures: dict[str, Failure] = {}
        self.context = multiprocessing.get_context("spawn")

    def submit(self, specs: Sequence[StageSpec]) -> None:
        for spec in specs:
            worker = next((w for w in self.workers if w.spec is None), None) or self._hire()
            worker.spec = spec
            worker.pipe.send(spec)

    def in_flight(self) -> set[str]:
        return {w.spec.fingerprint for w in self.workers if w.spec}

    def collect(self) -> dict[str, Failure]:
        for pipe in wait([w.pipe for w in self.workers if w.spec], timeout=POLL_S) if self.in_flight() else []:
            worker = next(w for w in self.workers if w.pipe is pipe)
            assert worker.spec is not None
            try:
                failure = worker.pipe.recv()
            except (EOFError, OSError):
                worker.process.join()
                failure = Failure("node", f"its worker died ({_exit_reason(worker.process.exitcode)})")
                self.workers.remove(worker)
            if failure:
                self.failures[worker.spec.fingerprint] = failure
            worker.spec = None
        failures, self.failures = self.failures, {}
        return failures

    def close(self) -> None:
        for worker in self.workers:
            worker.pipe.close()  # an idle worker takes this for the end
            if worker.spec:
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join(timeout=5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self.workers = []

    def _hire(self) -> _Worker:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_work, args=(theirs, self.job, os.getpid()), daemon=False)
        # Libraries read the number of threads when they are imported, so it must be in the child's environment already.
        before = {name: os.environ.get(name) for name in THREADS}
        os.environ.update({name: str(self.job.runtime.threads) for name in THREADS})
        try:
            process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        theirs.close()
        self.workers.append(_Worker(process, ours))
        return self.workers[-1]


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _work(pipe: Connection, job: Job, parent: int) -> None:
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    while True:
        try:
            spec = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(job.run(spec))


def die_with_parent(parent: int) -> None:
    """Have the kernel SIGTERM this process when its parent dies, even by SIGKILL (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit(143)


def _exit_reason(code: int | None) -> str:
    if code is not None and code < 0:
        hint = ", perhaps out of memory" if -code == signal.SIGKILL else ""
        return f"{signal.Signals(-code).name}{hint}"
    return f"exit status {code}"


class SubmititLocal:
    """A submitit job per stage on this machine.  submitit itself starts everything at once, so the slots are ours."""

    def __init__(self, job: Job, config: ClusterConfig, slots: int) -> None:
        self.job, self.config = job, config
        self.slots: int | None = slots
        self.jobs: dict[str, Any] = {}

    def submit(self, specs: Sequence[StageSpec]) -> None:
        import submitit

        for spec in specs:
            # A folder per submission: job ids are reused, and an old id's result would be taken for the new one's.
            folder = self.job.store.root / "jobs" / f"{spec.fingerprint}-{time.time_ns()}"
            executor = submitit.AutoExecutor(folder=str(folder), cluster="local")
            parameters = {"timeout_min": 60 * 24, **self.config.default, **self.config.stages.get(spec.stage.name, {})}
            executor.update_parameters(name=spec.fingerprint, **parameters)
            before = {name: os.environ.get(name) for name in THREADS}
            os.environ.update({name: str(self.job.runtime.threads) for name in THREADS})
            try:
                self.jobs[spec.fingerprint] = executor.submit(self.job.run, spec)
            finally:
                for name, value in before.items():
                    os.environ.pop(name) if value is None else os.environ.update({name: value})

    def in_flight(self) -> set[str]:
        return set(self.jobs)

    def collect(self) -> dict[str, Failure]:
        time.sleep(POLL_S)
        failures = {}
        for fingerprint, job in list(self.jobs.items()):
            if job.done():
                del self.jobs[fingerprint]
                try:
                    failure = job.result()
                except Exception as error:
                    last = str(error).strip().splitlines()[-1]
                    failure = Failure("node", f"its job ended badly: {last}; log {job.paths.stderr}")
                if failure:
                    failures[fingerprint] = failure
        return failures

    def close(self) -> None:
        for fingerprint, job in self.jobs.items():
            if not self.job.store.has(fingerprint):  # one that is finished is about to leave by itself
                job.cancel(check=False)
        self.jobs = {}


def connect(config: ClusterConfig, job: Job, jobs: int | None = None) -> Executor:
    """The executor of a profile.  ``jobs``: stages at once, over the profile's slots; 0 is this very process."""
    if jobs == 0:
        return Inline(job)
    slots = jobs or config.slots or max(1, min(os.cpu_count() or 1, _memory_gb() // 2))
    job = dataclasses.replace(job, runtime=dataclasses.replace(job.runtime, threads=config.threads))
    return SubmititLocal(job, config, slots) if config.cluster == "local" else Workers(job, slots)


def _memory_gb() -> int:
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


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
        in_flight = self.executor.in_flight()
        ready = []
        for fingerprint, spec in self.specs.items():
            if self.states[fingerprint] != "done":
                self.states[fingerprint] = self._state(spec, in_flight or set())
                if self.states[fingerprint] == "waiting" and all(self._state_of(p) == "done" for p in spec.inputs.values()):
                    ready.append(spec)
        if in_flight is None or not ready:
            if not self.executor.in_flight():
                time.sleep(POLL_S)
            return
        room = len(ready) if self.executor.slots is None else self.executor.slots - len(in_flight)
        # What has the longest way to go first, so that nobody waits for it at the end.
        batch = sorted(ready, key=lambda spec: -self.heights[spec.fingerprint])[:max(0, room)]
        if batch:
            for spec in batch:
                self.states[spec.fingerprint] = "running"
            self.executor.submit(batch)

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


def failure_note(store: Store, fingerprint: str) -> Mapping[str, Any] | None:
    """What the worker wrote down when the stage failed; None when it never did."""
    path = store.folder(fingerprint) / FAILURE
    return json.loads(path.read_text()) if path.exists() else None
