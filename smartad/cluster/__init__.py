"""Where stages run, and the loop that keeps a plan going there."""

import dataclasses
import os

from smartad.cluster.base import STAGES, ClusterConfig, Executor, Failure, Job
from smartad.cluster.dispatcher import Dispatcher, State
from smartad.cluster.workers import Inline, Workers
from smartad.types import UserError

__all__ = ["STAGES", "ClusterConfig", "Dispatcher", "Executor", "Failure", "Job", "State", "connect"]


def connect(config: ClusterConfig, job: Job, jobs: int | None = None) -> Executor:
    """The executor of a profile.  ``jobs``: stages at once, over the profile's slots; 0 is this very process."""
    if jobs is not None and jobs < 0:
        raise UserError(f"--jobs {jobs}: how many stages at once, or 0 for this process")
    runtime = dataclasses.replace(job.runtime, threads=config.threads, gpus=min(config.gpus, 1),
                                  checkpoint_every=config.checkpoint_every)
    job = dataclasses.replace(job, runtime=runtime)
    if jobs == 0:
        return Inline(job)
    slots = jobs or config.slots or max(1, min(os.cpu_count() or 1, _memory_gb() // 2))
    if config.cluster == "workers":
        return Workers(job, slots, config.gpus)
    from smartad.cluster.jobs import SubmititLocal

    return SubmititLocal(job, config, slots)


def _memory_gb() -> int:
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
