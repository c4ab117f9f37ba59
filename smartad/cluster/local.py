"""Stages as submitit jobs on this machine: the files and states of a cluster without one."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from smartad.cluster.base import POLL_S, RETRIES, Failure, Job, memory_gb
from smartad.cluster.profile import STAGES, ClusterConfig, Resources
from smartad.cluster.submission import Submission, folder, submit
from smartad.stage import StageSpec
from smartad.types import UserError

STOP_S = 10.0
"""How long cancelled jobs may take to end."""


@dataclass
class _Running:
    submission: Submission
    job: Any
    resources: Resources
    gpus: tuple[int, ...]


class Local:
    """submitit itself starts everything at once, so the cores, memory and GPUs of the machine are shared out here."""

    retries = RETRIES

    def __init__(self, job: Job, config: ClusterConfig, slots: int) -> None:
        self.job, self.config, self.slots = job, config, slots
        self.running: dict[str, _Running] = {}
        self.cores, self.mem_gb = os.cpu_count() or 1, memory_gb()
        for stage in STAGES:
            wanted = config.resources(stage)
            for name, asked, there in (("gpus", wanted.gpus, config.gpus), ("cpus", wanted.cpus, self.cores),
                                       ("mem_gb", wanted.mem_gb or 0, self.mem_gb)):
                if asked > there:
                    raise UserError(f"stages.{stage}.{name}={asked:g}: this machine has {there:g}"
                                    + ("; say how many with gpus" if name == "gpus" else ""))

    def take(self, ready: Iterable[StageSpec]) -> list[StageSpec]:
        """Start what fits beside what runs.  What does not fit waits for its turn: nothing smaller overtakes it."""
        taken: list[StageSpec] = []
        if self._full():
            return taken
        for spec in ready:
            resources = self.config.resources(spec.stage.name)
            if not self._fits(resources):
                break
            free = [gpu for gpu in range(self.config.gpus) if all(gpu not in r.gpus for r in self.running.values())]
            gpus = tuple(free[:resources.gpus])
            runtime = replace(self.job.runtime, threads=resources.cpus, gpus=resources.gpus)
            submission, jobs = submit(replace(self.job, runtime=runtime), "local", [[spec]], resources, gpus)
            self.running[spec.fingerprint] = _Running(submission, jobs[0], resources, gpus)
            taken.append(spec)
            if self._full():
                break
        return taken

    def in_flight(self) -> set[str]:
        return set(self.running)

    def collect(self) -> dict[str, Failure]:
        time.sleep(POLL_S)
        failures = {}
        for fingerprint, running in list(self.running.items()):
            if running.job.done():
                del self.running[fingerprint]
                note = self.job.store.failure(fingerprint)
                if self.job.store.has(fingerprint):
                    continue
                if note and note["time"] >= running.submission.time:
                    failures[fingerprint] = Failure(note["class"], note["message"])
                elif not self.job.store.claimed(fingerprint):
                    failures[fingerprint] = Failure("node", f"its job ended without a word; logs in "
                                                            f"{folder(self.job.store) / running.submission.tag}")
        return failures

    def cancel(self, fingerprints: set[str]) -> None:
        self._stop({f: running for f, running in self.running.items() if f in fingerprints})

    def close(self) -> None:
        self._stop(self.running)

    def _stop(self, doomed: dict[str, _Running]) -> None:
        for fingerprint, running in doomed.items():
            if not self.job.store.has(fingerprint):  # one that is finished is about to leave by itself
                running.job.cancel(check=False)
        until = time.monotonic() + STOP_S
        while any(not running.job.done() for running in doomed.values()) and time.monotonic() < until:
            time.sleep(POLL_S)
        self.running = {f: running for f, running in self.running.items() if f not in doomed}

    def _full(self) -> bool:
        return len(self.running) >= self.slots

    def _fits(self, more: Resources) -> bool:
        everything = [more, *(running.resources for running in self.running.values())]
        return (sum(r.cpus for r in everything) <= self.cores and sum(r.gpus for r in everything) <= self.config.gpus
                and sum(r.mem_gb or 0 for r in everything) <= self.mem_gb)
