"""Stages as submitit jobs on this machine: the files and states of a cluster without one."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from smartad.cluster.base import POLL_S, RETRIES, Failure, Job, memory_gb
from smartad.cluster.profile import STAGES, ClusterConfig, Resources
from smartad.cluster.submission import Submission, folder, places, submit
from smartad.stage import StageSpec
from smartad.types import UserError

STOP_S = 10.0
"""How long cancelled jobs may take to end."""


@dataclass
class _Running:
    submission: Submission
    job: Any
    resources: Resources


class Local:
    """submitit itself starts everything at once, so the cores, memory and GPUs of the machine are shared out here."""

    retries = RETRIES

    def __init__(self, job: Job, config: ClusterConfig, slots: int) -> None:
        self.job, self.config, self.slots = job, config, slots
        self.running: dict[str, _Running] = {}
        self.failures: dict[str, Failure] = {}
        self.orphans = {f: place.submission for f, place in places(job.store).items()
                        if place.submission.cluster == "local" and job.store.claimed(f)}
        """Jobs of a driver that was killed: they live on, and use what they were given."""
        self.resources = cache(config.resources)
        self.there = {"cpus": os.cpu_count() or 1, "mem_gb": memory_gb(), "gpus": config.gpus}
        for stage in STAGES:
            for name, asked in _used(self.resources(stage)).items():
                if asked > self.there[name]:
                    raise UserError(f"stages.{stage}.{name}={asked:g}: this machine has {self.there[name]:g}"
                                    + ("; say how many with gpus" if name == "gpus" else ""))

    def take(self, ready: Iterable[StageSpec]) -> list[StageSpec]:
        """Start what fits beside what runs.  What does not fit keeps others from what it lacks, so that it gets its turn."""
        taken: list[StageSpec] = []
        short: set[str] = set()
        self.orphans = {f: submission for f, submission in self.orphans.items() if self.job.store.claimed(f)}
        if self._full():
            return taken
        for spec in ready:
            wanted = self.resources(spec.stage.name)
            lacking = self._lacking(wanted)
            if lacking or short.intersection(_used(wanted)):
                short |= lacking
                if "cpus" in short:  # which everybody needs
                    break
                continue
            free = [gpu for gpu in range(self.config.gpus) if all(gpu not in submission.gpus for submission in self._at_work())]
            submission, jobs = submit(self.job, "local", [[spec]], wanted, free[:wanted.devices()])
            self.running[spec.fingerprint] = _Running(submission, jobs[0], wanted)
            taken.append(spec)
            if self._full():
                break
        return taken

    def _at_work(self) -> list[Submission]:
        return [*(running.submission for running in self.running.values()), *self.orphans.values()]

    def _full(self) -> bool:
        return len(self.running) + len(self.orphans) >= self.slots

    def _lacking(self, wanted: Resources) -> set[str]:
        """What there is not enough of beside what runs."""
        used = [*(_used(running.resources) for running in self.running.values()),
                *(_used(self.resources(submission.stage)) for submission in self.orphans.values())]
        return {name for name, amount in _used(wanted).items() if sum(u.get(name, 0) for u in used) + amount > self.there[name]}

    def in_flight(self) -> set[str]:
        return set(self.running)

    def collect(self) -> dict[str, Failure]:
        time.sleep(POLL_S)
        for fingerprint, running in list(self.running.items()):
            if running.job.done():
                if failure := self._ended(fingerprint, running.submission):
                    self.failures[fingerprint] = failure
                del self.running[fingerprint]
        failures, self.failures = self.failures, {}
        return failures

    def _ended(self, fingerprint: str, submission: Submission) -> Failure | None:
        """None when it is finished, or somebody else is at it."""
        note = self.job.store.failure(fingerprint)
        if self.job.store.has(fingerprint):
            return None
        if note and note["time"] >= submission.time:
            return Failure(note["class"], note["message"])
        if self.job.store.claimed(fingerprint):
            return None
        return Failure("node", f"its job ended without a word; logs in {folder(self.job.store) / submission.tag}")

    def cancel(self, fingerprints: set[str]) -> None:
        self._stop({f: running for f, running in self.running.items() if f in fingerprints})

    def close(self) -> None:
        self._stop(self.running)

    def _stop(self, doomed: dict[str, _Running]) -> None:
        for fingerprint, running in doomed.items():
            if not self.job.store.has(fingerprint):  # one that is finished is about to leave by itself
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(running.job.job_id), signal.SIGTERM)  # which submitit's controller passes on to the stage
        until = time.monotonic() + STOP_S
        while any(not running.job.done() for running in doomed.values()) and time.monotonic() < until:
            time.sleep(POLL_S)
        self.running = {f: running for f, running in self.running.items() if f not in doomed}


def _used(resources: Resources) -> dict[str, float]:
    """What a job takes away from the others."""
    amounts = {"cpus": resources.cpus, "mem_gb": resources.mem_gb or 0, "gpus": resources.devices()}
    return {name: amount for name, amount in amounts.items() if amount}
