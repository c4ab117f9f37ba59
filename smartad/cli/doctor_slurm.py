"""What doctor asks a SLURM cluster."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from smartad.cli.acceptance import answers, asked
from smartad.cli.doctor import NETWORK, Finding, Level, file_system_type
from smartad.cluster import STAGES, ClusterConfig, Job
from smartad.cluster.queue import SlurmError, command
from smartad.cluster.submission import places_of, submit
from smartad.stage import Runtime, Stage, StageSpec
from smartad.store import Store
from smartad.tracking import Tracking

PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
START_S = 1800.0
"""How long the job of ``signals`` may wait in the queue."""
SIGNAL_MIN, SIGNAL_S = 2, 20
"""Its time limit in minutes and when SIGUSR2 is due; SLURM sends it up to a minute early, and Python must have started."""
LOOK_S = 0.5


def cluster(profile: ClusterConfig | None, root: Path) -> Iterator[Finding]:
    """Commands, controller, partitions, configuration; the profile's resources, when there is a profile."""
    bad: Level = "fail" if profile else "warn"
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        yield Finding(bad, f"no {', '.join(missing)} here", "run it on a login node; sweeps work without SLURM too, and "
                                                            "slurm/dev/up starts a small one on this machine")
        return
    try:
        config = _config()
        yield Finding("ok", f"SLURM {config['SLURM_VERSION']}, cluster {config['ClusterName']}: the controller answers")
        yield from _partitions()
    except SlurmError as error:
        yield Finding(bad, f"the controller does not answer ({error})", "scontrol ping says who is asked; is SLURM_CONF right?")
        return
    yield from preemption(config, profile)
    yield from _limits(config, profile)
    if profile:
        yield from _resources(profile, root)
        if not (kind := file_system_type(root)).startswith(NETWORK):
            yield Finding("warn", f"the store is on {kind or 'an unknown file system'}, which is often of one machine only",
                          "every node must see it under the same path; --signals shows whether one does")


def _config() -> dict[str, str]:
    lines = command("scontrol", "show", "config").splitlines()
    return {key.strip(): value.strip() for key, separator, value in (line.partition("=") for line in lines) if separator}


def _partitions() -> Iterator[Finding]:
    for line in dict.fromkeys(command("sinfo", "-h", "-o", "%P|%a|%l|%D|%c|%m|%G|%f").splitlines()):
        name, up, limit, nodes, cpus, memory_mb, gres, features = line.split("|")
        parts = [f"{nodes} nodes", f"{cpus} CPUs", f"{memory_mb} MB", gres.replace("(null)", "no GPUs"), f"at most {limit}"]
        if features != "(null)":
            parts.append(f"features {features}")
        yield Finding("ok" if up == "up" else "warn", f"partition {name}: {', '.join(parts)}" + ("" if up == "up" else f"; {up}"))


def preemption(config: Mapping[str, str], profile: ClusterConfig | None) -> Iterator[Finding]:
    """Whether a job is told before it is preempted, and has time to save what it has."""
    every = "what a stage saved before is kept; lower checkpoint_every in the profile, or ask the site for "
    if config.get("PreemptType", "preempt/none") in ("preempt/none", "(null)"):
        yield Finding("ok", "nobody is preempted here")
    elif "preempt_send_user_signal" not in config.get("SlurmctldParameters", ""):
        yield Finding("warn", "preempted jobs are not told by SIGUSR2, so a training goes back to its last checkpoint",
                      f"{every}SlurmctldParameters=preempt_send_user_signal")
    else:
        yield Finding("ok", "preempted jobs are told by SIGUSR2")
        wanted = {profile.resources(stage).partition for stage in STAGES} if profile else set()
        for line in command("scontrol", "show", "partition", "-o").splitlines():
            partition = dict(word.split("=", 1) for word in line.split() if "=" in word)
            name, mode = partition["PartitionName"], partition.get("PreemptMode", "OFF")
            if mode == "OFF" or (profile and name not in wanted and not (None in wanted and partition.get("Default") == "YES")):
                continue
            if partition.get("GraceTime") in ("0", "00:00:00"):
                yield Finding("warn", f"jobs of partition {name} have no time between SIGUSR2 and their end (GraceTime=0)",
                              f"{every}GraceTime")
            if mode == "CANCEL":
                yield Finding("warn", f"preempted jobs of partition {name} are cancelled, not requeued (PreemptMode=CANCEL)",
                              "their stages are submitted again while a driver runs: keep one running, or --detach it")


def _limits(config: Mapping[str, str], profile: ClusterConfig | None) -> Iterator[Finding]:
    if config.get("JobRequeue") == "0":
        yield Finding("warn", "jobs may not requeue themselves unless they ask for it (JobRequeue=0)",
                      "in the profile, default: {sbatch: {requeue: true}}")
    else:
        yield Finding("ok", "jobs may requeue themselves")
    for limit, field in (("MaxArraySize", "max_array"), ("MaxJobCount", "max_jobs")):
        if profile and int(config[limit]) < getattr(profile, field):
            yield Finding("fail", f"the profile's {field}={getattr(profile, field)} is above {limit}={config[limit]} here",
                          f"set {field} to at most {config[limit]}")
        else:
            yield Finding("ok", f"{limit}={config[limit]}")
    try:
        command("sacct", "-n", "-X", "-S", "now-1hours")
        yield Finding("ok", "sacct answers")
    except SlurmError as error:
        yield Finding("warn", f"sacct does not answer ({error})", "how a job ended is taken from scontrol and its log: a little "
                                                                  "vaguer, nothing is lost")


def _resources(profile: ClusterConfig, root: Path) -> Iterator[Finding]:
    """Whether a job of each stage would be accepted."""
    for answer in answers(profile, root):
        told = ", ".join(answer.stages) if len(answer.stages) < len(STAGES) else "every stage"
        if answer.word == "accepted":
            yield Finding("ok", f"{told}: a job would be accepted")
        else:
            yield Finding("fail", f"{told}: {answer.said}", answer.way_out)


@dataclass(frozen=True)
class _Nothing:
    """The stage below needs no config."""


def _wait_to_be_told(config: _Nothing, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> dict[str, float]:
    """Started once, sleeps until SIGUSR2 and its time are over; started again, it is done."""
    if (out / "node").exists():
        return {}
    (out / "node").write_text(os.environ.get("SLURMD_NODENAME", "?"))
    time.sleep(60.0 * SIGNAL_MIN)
    raise TimeoutError("nobody requeued this job")


def signals(profile: ClusterConfig, root: Path) -> Iterator[Finding]:
    """Run a job of the profile that must see the store, get SIGUSR2, and put itself back into the queue."""
    Store(root).open()
    spec = StageSpec(Stage("doctor", 1, _wait_to_be_told), _Nothing(), {})
    resources = replace(profile.resources("train"), timeout_min=SIGNAL_MIN, signal_s=SIGNAL_S, pack=1)
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=root, ignore_cleanup_errors=True) as scratch:
        store = Store(Path(scratch)).open()
        try:
            submission, jobs = submit(Job(store, Runtime(), Tracking(store.root)), "slurm", [[spec]], resources)
        except Exception as error:  # submitit passes on whatever sbatch said
            yield Finding("fail", f"sbatch refused a job: {' '.join(str(error).split())[-300:]}",
                          f"it asked for {asked(resources)}")
            return
        job = str(jobs[0].job_id)
        yield Finding("ok", f"job {job} is submitted, with the resources of train")
        try:
            node = store.folder(spec.fingerprint) / "node"
            yield from _watch(job, node, lambda: "".join(path.read_text(errors="replace") for path in
                                                         places_of(store, submission)[spec.fingerprint].logs()))
        finally:
            command("scancel", job)
            _until(lambda: not command("squeue", "-h", "-j", job), 30.0)  # it still writes into the folder that is removed


def _watch(job: str, node: Path, log: Callable[[], str]) -> Iterator[Finding]:
    if not _until(lambda: _full(node) or _state(job) not in ("PENDING", "CONFIGURING"), START_S):
        yield Finding("warn", f"the job did not start within {START_S / 60:.0f} minutes", "squeue --start --me says when it may")
        return
    if not _until(lambda: _full(node), 60.0):
        last = (log().strip() or "and it left no log: does its node see the store?").splitlines()[-1]
        yield Finding("fail", f"the job ran, but nothing of it is in the store ({last})",
                      f"every node must see it as {node.parent.parent.parent}")
        return
    yield Finding("ok", f"it runs on {node.read_text()}, and what it writes into the store is seen here")
    began = time.monotonic()
    if _until(lambda: _restarts(job) > 0, 60.0 * SIGNAL_MIN + 60.0):
        yield Finding("ok", f"SIGUSR2 arrived after {time.monotonic() - began:.0f} s, and the job put itself back into the queue")
    elif "Caught signal SIGUSR2" in log():
        yield Finding("fail", f"SIGUSR2 arrived, but the job could not requeue itself ({log().strip().splitlines()[-1]})",
                      "scontrol must work on the nodes, also inside the profile's container")
    else:
        yield Finding("fail", f"SIGUSR2 did not arrive; the job is {_state(job)}",
                      "srun must pass signals on: try without the profile's container")


def _full(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _state(job: str) -> str:
    return _shown(job, r"JobState=(\S+)") or "gone"


def _restarts(job: str) -> int:
    return int(_shown(job, r"Restarts=(\d+)") or 0)


def _shown(job: str, pattern: str) -> str:
    try:
        match = re.search(pattern, command("scontrol", "show", "job", "-o", job))
    except SlurmError:  # away for a moment, or the job is forgotten
        return ""
    return match[1] if match else ""


def _until(condition: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(LOOK_S)
    return False
