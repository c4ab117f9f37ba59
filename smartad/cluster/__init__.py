"""Where stages run, and the loop that keeps a plan going there."""

import dataclasses
import os

from smartad.cluster.base import Executor, Failure, Job, memory_gb
from smartad.cluster.dispatcher import Dispatcher, State
from smartad.cluster.profile import STAGES, ClusterConfig, Resources
from smartad.cluster.workers import Inline, Workers
from smartad.stage import Runtime
from smartad.types import UserError

__all__ = ["STAGES", "ClusterConfig", "Dispatcher", "Executor", "Failure", "Job", "Resources", "State", "connect", "on_site"]


def on_site(config: ClusterConfig, runtime: Runtime) -> Runtime:
    """``runtime`` as the profile has it for every stage."""
    return dataclasses.replace(runtime, threads=config.threads, processes=config.processes,
                               gpus=config.processes if config.gpus else 0, checkpoint_every=config.checkpoint_every,
                               gradient_checkpointing=config.gradient_checkpointing, deepspeed=config.deepspeed_config(),
                               batch_tokens=config.batch_tokens, token_budget=config.token_budget,
                               engine_errors=config.engine_errors, sandbox=config.sandbox, judges=config.judge_sites(),
                               retriever=config.retriever)


def connect(config: ClusterConfig, job: Job, jobs: int | None = None) -> Executor:
    """The executor of a profile.  ``jobs``: stages at once, over the profile's slots; 0 is this very process."""
    if jobs is not None and jobs < 0:
        raise UserError(f"--jobs {jobs}: how many stages at once, or 0 for this process")
    job = dataclasses.replace(job, runtime=on_site(config, job.runtime), engines=config.engines())
    if jobs == 0:
        return Inline(job)
    slots = jobs or config.slots or max(1, min(os.cpu_count() or 1, int(memory_gb()) // 2))
    if config.cluster == "workers":
        return Workers(job, slots, config.gpus)
    if config.cluster == "local":
        from smartad.cluster.local import Local

        return Local(job, config, slots)
    from smartad.cluster.slurm import Slurm

    return Slurm(job, config)
