"""Stages as submitit jobs."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit

from smartad.cluster.base import POLL_S, STAGES, ClusterConfig, Failure, Job
from smartad.stage import StageSpec
from smartad.types import UserError

STOP_S = 10.0
"""How long cancelled jobs may take to end."""


class SubmititLocal:
    """A submitit job per stage on this machine.  submitit itself starts everything at once, so the slots are ours."""

    def __init__(self, job: Job, config: ClusterConfig, slots: int) -> None:
        self.job, self.config = job, config
        self.slots: int | None = slots
        self.jobs: dict[str, Any] = {}
        for stage in STAGES:  # what a job could not be started with is said now
            try:
                self._executor(stage, job.store.root / "jobs")
            except Exception as error:
                said = " ".join(str(error).split())
                raise UserError(f"the profile's parameters of stage {stage} are not submitit's: {said}") from error

    def submit(self, specs: Sequence[StageSpec]) -> None:
        for spec in specs:
            # A folder per submission: job ids are reused, and an old id's result would be taken for the new one's.
            folder = self.job.store.root / "jobs" / f"{spec.fingerprint}-{time.time_ns()}"
            executor = self._executor(spec.stage.name, folder)
            with self.job.environment():
                self.jobs[spec.fingerprint] = executor.submit(self.job.run, spec)

    def _executor(self, stage: str, folder: Path) -> submitit.AutoExecutor:
        executor = submitit.AutoExecutor(folder=str(folder), cluster="local")
        parameters = {"timeout_min": 60 * 24, **self.config.default, **self.config.stages.get(stage, {})}
        executor.update_parameters(name=stage, **parameters)
        return executor

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
        until = time.monotonic() + STOP_S
        while any(not job.done() for job in self.jobs.values()) and time.monotonic() < until:
            time.sleep(POLL_S)
        self.jobs = {}
