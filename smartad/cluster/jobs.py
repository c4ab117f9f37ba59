"""Stages as submitit jobs."""

import time
from collections.abc import Sequence
from typing import Any

import submitit

from smartad.cluster.base import POLL_S, ClusterConfig, Failure, Job
from smartad.stage import StageSpec


class SubmititLocal:
    """A submitit job per stage on this machine.  submitit itself starts everything at once, so the slots are ours."""

    def __init__(self, job: Job, config: ClusterConfig, slots: int) -> None:
        self.job, self.config = job, config
        self.slots: int | None = slots
        self.jobs: dict[str, Any] = {}

    def submit(self, specs: Sequence[StageSpec]) -> None:
        for spec in specs:
            # A folder per submission: job ids are reused, and an old id's result would be taken for the new one's.
            folder = self.job.store.root / "jobs" / f"{spec.fingerprint}-{time.time_ns()}"
            executor = submitit.AutoExecutor(folder=str(folder), cluster="local")
            parameters = {"timeout_min": 60 * 24, **self.config.default, **self.config.stages.get(spec.stage.name, {})}
            executor.update_parameters(name=spec.fingerprint, **parameters)
            with self.job.threads():
                self.jobs[spec.fingerprint] = executor.submit(self.job.run, spec)

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
