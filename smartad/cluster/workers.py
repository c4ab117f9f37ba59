"""Stages in this process, or in worker processes of it."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any

from smartad.cluster.base import POLL_S, RETRIES, Failure, Job, environment
from smartad.stage import StageSpec

STOP_S = 20.0
"""How long a stopped stage may take to give back its claim and its processes before it is killed."""
REPEAT_S = 1.0
"""A worker that is still there is told again: libraries drop an exception that comes while they are imported."""


class Inline:
    """This process, one stage at a time: for debuggers."""

    retries = RETRIES

    def __init__(self, job: Job) -> None:
        self.job, self.failures = job, dict[str, Failure]()

    def take(self, ready: Iterable[StageSpec]) -> list[StageSpec]:
        spec = next(iter(ready), None)
        if spec is None:
            return []
        if failure := self.job.run(spec):
            self.failures[spec.fingerprint] = failure
        return [spec]

    def in_flight(self) -> set[str]:
        return set()

    def collect(self) -> dict[str, Failure]:
        failures, self.failures = self.failures, {}
        return failures

    def cancel(self, fingerprints: set[str]) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    spec: StageSpec | None = None
    gpu: int | None = None

    def give(self, spec: StageSpec) -> None:
        """Start ``spec``.  A worker that is just dying is found out when its answer is awaited."""
        self.spec = spec
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send(spec)


class Workers:
    """``slots`` processes that import torch once and run one stage after the other.  They die with this process."""

    retries = RETRIES

    def __init__(self, job: Job, slots: int, gpus: int = 0) -> None:
        self.job, self.slots, self.gpus = job, slots, gpus
        self.workers: list[_Worker] = []
        self.failures: dict[str, Failure] = {}
        self.context = multiprocessing.get_context("spawn")

    def take(self, ready: Iterable[StageSpec]) -> list[StageSpec]:
        taken = list(islice(ready, self.slots - len(self.in_flight())))
        for spec in taken:
            self._idle().give(spec)
        return taken

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

    def cancel(self, fingerprints: set[str]) -> None:
        doomed = [w for w in self.workers if w.spec and w.spec.fingerprint in fingerprints]
        self.workers = [w for w in self.workers if w not in doomed]
        _end(doomed)

    def close(self) -> None:
        _end(self.workers)
        self.workers = []

    def _idle(self) -> _Worker:
        """A live worker without a stage; an idle one may have been killed meanwhile."""
        self.workers = [w for w in self.workers if w.spec or w.process.is_alive()]
        return next((w for w in self.workers if w.spec is None), None) or self._hire()

    def _hire(self) -> _Worker:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_work, args=(theirs, self.job, os.getpid()), daemon=False)
        taken = [w.gpu for w in self.workers]
        gpu = min(range(self.gpus), key=taken.count) if self.gpus else None
        with environment({**self.job.variables(), **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)})}):
            process.start()
        theirs.close()
        self.workers.append(_Worker(process, ours, gpu=gpu))
        return self.workers[-1]


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.pipe.close()  # an idle worker takes this for the end
        if worker.spec:
            worker.process.terminate()
    until = time.monotonic() + STOP_S
    for worker in workers:
        while worker.process.is_alive() and time.monotonic() < until:
            worker.process.join(timeout=REPEAT_S)
            if worker.spec and worker.process.is_alive():
                worker.process.terminate()
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _work(pipe: Connection, job: Job, parent: int) -> None:
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    signal.signal(signal.SIGTERM, _leave)
    sys.unraisablehook = _leave_after_all
    while True:
        try:
            spec = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(job.run(spec))


def _leave(*_: object) -> None:
    """End this process, unless it is about to: then a second SIGTERM would cut short what it has still to clean up."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, SystemExit):
        error = error.__context__
    if error is None:
        sys.exit(143)


def _leave_after_all(ignored: "sys.UnraisableHookArgs") -> None:
    """Have a SIGTERM heard again that came while a weak reference was cleared, where Python drops every exception."""
    if isinstance(ignored.exc_value, SystemExit):
        threading.Timer(POLL_S, os.kill, (os.getpid(), signal.SIGTERM)).start()
    else:
        sys.__unraisablehook__(ignored)


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
