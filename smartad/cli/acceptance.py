"""Would SLURM take the jobs of a profile?  sbatch judges them; none is submitted."""

import math
import re
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smartad.cluster import STAGES, ClusterConfig, Job, Resources
from smartad.cluster.queue import SlurmError, command
from smartad.cluster.submission import BUSY, outside_of_jobs, script
from smartad.stage import Runtime
from smartad.store import Store
from smartad.tracking import Tracking
from smartad.types import UserError

IN_SERVICE = ("idle", "mixed", "allocated", "completing", "planned")
"""States of nodes that take jobs, or will by themselves."""


@dataclass(frozen=True)
class Answer:
    """What SLURM says of the jobs of some stages, which all ask for the same."""

    stages: tuple[str, ...]
    word: Literal["accepted", "refused", "perhaps", "silent"]
    """perhaps: not as things are, but they may change.  silent: it is busy or away, and nothing is known."""
    said: str = ""
    way_out: str = ""


def answers(profile: ClusterConfig, root: Path, stages: Collection[str] = STAGES) -> Iterator[Answer]:
    """Let sbatch judge what each of ``stages`` asks for: partition, account, qos, constraint, GPUs, memory, time.

    ``root``: of the store.  Raises SlurmError when SLURM does not answer at all.
    """
    limits = _time_limits_min()
    alike: list[tuple[Resources, list[str]]] = []
    for stage in (stage for stage in STAGES if stage in stages):
        resources = profile.resources(stage)
        same = next((stages for known, stages in alike if known == resources), None)
        same.append(stage) if same else alike.append((resources, [stage]))
    for resources, same in alike:
        if resources.timeout_min > (limit := limits.get(resources.partition, math.inf)):  # sbatch lets it wait for ever
            yield Answer(tuple(same), "perhaps" if resources.qos else "refused",  # a qos may be allowed more
                         f"timeout_min={resources.timeout_min} is above its partition's {limit:.0f} minutes",
                         "lower it; a job whose time is up requeues itself and goes on")
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
            file.write(script(Job(Store(root), Runtime(), Tracking(root)), same[0], resources, 1))
            file.flush()
            try:
                with outside_of_jobs():
                    command("sbatch", "--test-only", file.name)
                yield Answer(tuple(same), "accepted")
            except SlurmError as error:
                yield Answer(tuple(same), _judged(str(error), resources), str(error),
                             f"the profile asks for {asked(resources)}; sinfo shows what there is")


def check_accepted(profile: ClusterConfig, file: str, root: Path, stages: Collection[str]) -> None:
    """Fail at the desk: what SLURM would refuse hours later.  Nothing is held up by what may pass, or by its silence.

    Raises UserError naming the stages, what sbatch said, and ``file``, the profile.
    """
    refused = []
    try:
        for answer in answers(profile, root, stages):
            told = f"{', '.join(answer.stages)}: {answer.said}"
            if answer.word == "silent":
                break
            if answer.word == "refused":
                refused.append(f"{told}; {answer.way_out}")
            elif answer.word == "perhaps":
                print(f"SLURM may refuse these jobs, as things are: {told}", file=sys.stderr)
    except SlurmError:
        return
    if refused:
        raise UserError(f"SLURM would refuse jobs of {file}:\n  " + "\n  ".join(refused))


def asked(resources: Resources) -> str:
    """``partition=gpu, cpus=8, ...``: what a job asks for, in the profile's words."""
    names = ("partition", "account", "qos", "gres", "constraint", "gpus", "cpus", "mem_gb", "timeout_min")
    return ", ".join(f"{name}={value}" for name in names if (value := getattr(resources, name)))


def _judged(said: str, resources: Resources) -> Literal["refused", "perhaps", "silent"]:
    if re.search(f"{BUSY}|did not answer", said, re.IGNORECASE):
        return "silent"
    if "node configuration is not available" in said:  # which is also said while the nodes that have it are drained
        return "perhaps" if _some_out_of_service(resources.partition) else "refused"
    return "perhaps" if re.search("not available|busy", said) else "refused"


def _some_out_of_service(partition: str | None) -> bool:
    """Whether nodes of a partition, None is the default one, take no jobs for now."""
    named = partition.split(",") if partition else []
    for line in command("sinfo", "-h", "-o", "%P|%T").splitlines():
        name, state = line.split("|")
        mine = name.rstrip("*") in named if named else name.endswith("*")
        if mine and (state.endswith("*") or not state.startswith(IN_SERVICE)):
            return True
    return False


def _time_limits_min() -> dict[str | None, float]:
    """Partition -> its time limit; None is the default partition."""
    limits: dict[str | None, float] = {}
    for line in command("sinfo", "-h", "-o", "%P|%l").splitlines():
        name, limit = line.split("|")
        days, _, clock = limit.rpartition("-")
        if limit[:1].isdigit():  # else infinite
            hours, minutes, _ = (int(part) for part in f"0:{clock}".split(":")[-3:])
            limits[name.rstrip("*")] = int(days or 0) * 1440 + hours * 60 + minutes
            if name.endswith("*"):
                limits[None] = limits[name.rstrip("*")]
    return limits
