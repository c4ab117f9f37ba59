"""Submissions: what was handed to submitit, on disk before it is handed over.

``<store>/jobs/<tag>/`` holds one: ``submission.json`` (which fingerprints, written first), ``job.json`` (the id it got), and
submitit's files and logs.  A folder per submission: job ids are reused, and an old id's files would be taken for the new one's.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import submitit
from submitit.slurm.slurm import _make_sbatch_string

from smartad.cluster.base import Job, environment
from smartad.cluster.profile import Resources
from smartad.engines.vllm import kept
from smartad.records import from_json, to_json, write_json
from smartad.stage import StageSpec
from smartad.store import Store, StoreAway, explained

TIMEOUTS = 3
"""How often submitit requeues one job whose time was up; then it is a failure of class timeout."""
DRIVER_TIMEOUTS = 1000
DRIVER_STARTS, DRIVER_PAUSE_S = 10, 5.0
"""How often a driver that dies in its job is started again there, and after how long."""
STARTED_AGAIN = "SMARTAD_STARTED_AGAIN"
"""In the environment of a driver that its job has started again."""
BUSY = "contact|timed out|timeout|temporarily|try again|socket|connection|submit limit|MaxSubmit|too many|slurm_load"
"""What sbatch says when the same job may be taken later."""
INPUTS_S = 60.0
"""How long a job waits for inputs that the driver has seen: network file systems tell machines apart late."""
AWAY_S = 900.0
"""How long a job whose stage has ended waits for a store that is away."""


class Refused(Exception):
    """sbatch will not take such a job; the message is what it said."""


@dataclass(frozen=True)
class Submission:
    """One job, or one job array."""

    tag: str
    cluster: str
    stage: str
    time: float
    packs: tuple[tuple[str, ...], ...]
    """Fingerprints of each element of the array."""
    gpus: tuple[int, ...] = ()
    """Of this machine, for a job on it."""
    code: str | None = None
    """Folder that smartad is imported from; None where it is installed."""

    @property
    def name(self) -> str:
        """The job's name in the queue."""
        return f"{self.stage}.{self.tag}"


@dataclass(frozen=True)
class Place:
    """Where a fingerprint was last submitted to."""

    submission: Submission
    index: int
    folder: Path
    job: str | None
    """SLURM's id, or the local process; None when the driver died before it was told."""

    @property
    def element(self) -> str | None:
        """``1234_5``: the id of this element of the array."""
        return self.job and (f"{self.job}_{self.index}" if len(self.submission.packs) > 1 else self.job)

    def logs(self) -> list[Path]:
        """What the job wrote: standard output, then standard error.  Those that are there."""
        names = [f"{self.element}_0_log.{kind}" for kind in ("out", "err")] if self.job else []
        return [self.folder / name for name in names if (self.folder / name).exists()]


def folder(store: Store) -> Path:
    """Where submissions are kept."""
    return store.root / "jobs"


def read(store: Store, tag: str) -> Submission | None:
    """The submission ``tag``; None when its driver died before it was written."""
    try:
        return from_json(Submission, json.loads((folder(store) / tag / "submission.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def submissions(store: Store) -> Iterator[Submission]:
    """Every submission, oldest first."""
    for path in sorted(folder(store).glob(f"{store.id()}-*")):
        if submission := read(store, path.name):
            yield submission


def recent(store: Store, seconds: float) -> list[Submission]:
    """The submissions of the last ``seconds``; a tag begins with its time."""
    since = f"{store.id()}-{int((time.time() - seconds) * 1000):012x}"
    return [s for path in folder(store).glob(f"{store.id()}-*") if path.name >= since and (s := read(store, path.name))]


def places(store: Store) -> dict[str, Place]:
    """Where each fingerprint was last submitted to."""
    found: dict[str, Place] = {}
    for submission in submissions(store):
        found |= places_of(store, submission)
    return found


def places_of(store: Store, submission: Submission) -> dict[str, Place]:
    """The places of one submission's fingerprints."""
    at = folder(store) / submission.tag
    try:
        job = json.loads((at / "job.json").read_text(encoding="utf-8"))["job"]
    except (OSError, ValueError):
        job = None
    return {fingerprint: Place(submission, index, at, job)
            for index, pack in enumerate(submission.packs) for fingerprint in pack}


@dataclass(frozen=True)
class Batch:
    """What a job runs: stages one after the other.  One that fails leaves its note and does not stop the others.  A model server
    that one of them has started serves the next ones, too."""

    job: Job
    specs: tuple[StageSpec, ...]

    def __call__(self) -> None:
        _leave_when_told()
        if os.environ.get("SUBMITIT_EXECUTOR") == "local":  # under SLURM it may announce that the job is preempted
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with kept():
            for spec in self.specs:
                self._run(spec)

    def _run(self, spec: StageSpec) -> None:
        _wait(partial(_inputs_there, self.job.store, spec), INPUTS_S)
        failure = self.job.run(spec)
        _wait(self.job.store.present, AWAY_S)  # without it neither the note nor submitit's own files can be written
        note = self.job.store.failure(spec.fingerprint) if failure else None
        if failure and (note is None or note["message"] != failure.message):  # it was away when the stage wrote it
            self.job.store.note_failure(spec.fingerprint, failure.kind, failure.message, final=False)

    def checkpoint(self, *args: Any, **kwargs: Any) -> submitit.helpers.DelayedSubmission:
        """submitit calls this on SIGUSR2 and requeues the job; the stages carry on from their own folders."""
        return submitit.helpers.DelayedSubmission(self, *args, **kwargs)


def submit(job: Job, cluster: str, packs: Sequence[Sequence[StageSpec]], resources: Resources,
           gpus: Sequence[int] = ()) -> tuple[Submission, list[Any]]:
    """Hand over one array of ``packs`` of one stage.  What is to be submitted is on disk before it is."""
    now = time.time()
    tag = f"{job.store.id()}-{int(now * 1000):012x}{uuid.uuid4().hex[:4]}"
    submission = Submission(tag, cluster, packs[0][0].stage.name, now, tuple(tuple(s.fingerprint for s in p) for p in packs),
                            tuple(gpus), str(job.code) if job.code else None)
    at = folder(job.store) / tag
    with explained(job.store.root):
        folder(job.store).mkdir(exist_ok=True)
        at.mkdir()
        write_json(at / "submission.json", to_json(submission))
    job = _allotted(job, resources)
    executor: submitit.Executor
    if cluster == "slurm":
        executor = submitit.SlurmExecutor(at, max_num_timeout=TIMEOUTS, python=_python(resources))
        executor.update_parameters(**_sbatch(submission.name, resources, job))
    else:
        executor = submitit.LocalExecutor(at, max_num_timeout=TIMEOUTS, python=_python(resources))
        executor.update_parameters(timeout_min=resources.timeout_min, signal_delay_s=resources.signal_s,
                                   gpus_per_node=len(gpus), visible_gpus=list(gpus), setup=list(resources.setup))
    with outside_of_jobs(), environment(job.variables()), _deaf_to_ctrl_c():
        try:
            jobs = executor.submit_array([Batch(job, tuple(pack)) for pack in packs])
        except submitit.core.utils.FailedJobError as error:
            said = " ".join(str(error).split())[-300:]
            if re.search(BUSY, said, re.IGNORECASE):  # and then it may have taken it nevertheless
                raise
            shutil.rmtree(at, ignore_errors=True)
            raise Refused(said) from error
    with explained(job.store.root):
        write_json(at / "job.json", {"job": str(jobs[0].job_id).split("_")[0]})
    return submission, jobs


@dataclass(frozen=True)
class Driver:
    """A driver as a job.  It may be killed anywhere, so being requeued costs it nothing."""

    words: tuple[str, ...]
    """smartad's command line."""
    cancel: Path
    """There when the sweep is to end."""

    def __call__(self) -> None:
        _leave_when_told()
        for again in range(DRIVER_STARTS):
            variables = {**os.environ, **({STARTED_AGAIN: str(again)} if again else {})}
            status = subprocess.run([sys.executable, "-m", "smartad", *self.words], check=False, env=variables).returncode
            if status in (0, 1, 2) or self.cancel.exists():
                return
            time.sleep(DRIVER_PAUSE_S)  # it was killed, or told to end by somebody who takes the job away next
        sys.exit(f"the driver ended {DRIVER_STARTS} times, last with exit status {status}")

    def checkpoint(self, *args: Any, **kwargs: Any) -> submitit.helpers.DelayedSubmission:
        return submitit.helpers.DelayedSubmission(self, *args, **kwargs)


def driver_name(store: Store, sweep: str) -> str:
    """What the job of a sweep's detached driver is called in the queue."""
    return f"sweep.{store.id()}-{sweep}"


def submit_driver(job: Job, sweep: str, words: Sequence[str], resources: Resources) -> tuple[str, Path]:
    """Submit the driver of ``sweep`` as a job.  Its id, and where it writes."""
    at = folder(job.store) / f"{_driver_prefix(sweep)}{time.time_ns()}"
    executor = submitit.SlurmExecutor(at, max_num_timeout=DRIVER_TIMEOUTS, python=_python(resources))
    executor.update_parameters(**_sbatch(driver_name(job.store, sweep), resources, job))
    with outside_of_jobs(), environment(job.variables()):
        try:
            submitted = executor.submit(Driver(tuple(words), job.store.root / "sweeps" / f"{sweep}.cancel"))
        except submitit.core.utils.FailedJobError as error:
            shutil.rmtree(at, ignore_errors=True)
            raise Refused(" ".join(str(error).split())[-300:]) from error
    with explained(job.store.root):
        write_json(at / "job.json", {"job": str(submitted.job_id)})
    return str(submitted.job_id), Path(submitted.paths.stderr)


def driver_folders(store: Store, sweep: str) -> list[Path]:
    """Where the detached drivers of ``sweep`` were submitted from, the oldest first."""
    prefix = _driver_prefix(sweep)
    try:
        names = [name for name in os.listdir(folder(store)) if name.startswith(prefix) and name[len(prefix):].isdigit()]
    except FileNotFoundError:
        return []
    return [folder(store) / name for name in sorted(names)]


def _driver_prefix(sweep: str) -> str:
    return f"driver-{sweep}-"


def script(job: Job, stage: str, resources: Resources, elements: int) -> str:
    """The sbatch script that ``elements`` jobs of ``stage`` would be submitted with."""
    job = _allotted(job, resources)
    at = folder(job.store) / "TAG"
    command = f"{_python(resources)} -u -m submitit.core._submit {shlex.quote(str(at))}"
    return _make_sbatch_string(command, at, map_count=elements if elements > 1 else None,
                               **_sbatch(f"{stage}.TAG", resources, job))


def _allotted(job: Job, resources: Resources) -> Job:
    """``job`` with the threads, processes and GPUs that its stages will have."""
    return replace(job, runtime=replace(job.runtime, threads=resources.cpus, processes=resources.ranks(),
                                        gpus=resources.devices()))


def _sbatch(name: str, resources: Resources, job: Job) -> dict[str, Any]:
    """The parameters of submitit's SlurmExecutor."""
    exports = [f"export {key}={shlex.quote(value)}" for key, value in job.variables().items()]
    asked = {"partition": resources.partition, "account": resources.account, "qos": resources.qos, "gres": resources.gres,
             "constraint": resources.constraint, "gpus_per_node": resources.gpus or None,
             "mem": f"{round(resources.mem_gb * 1024)}MB" if resources.mem_gb else None,
             "additional_parameters": dict(resources.sbatch) or None}
    return {"job_name": name, "time": resources.timeout_min, "cpus_per_task": resources.cpus,
            "array_parallelism": resources.at_once, "signal_delay_s": resources.signal_s,
            # Since SLURM 22.05 srun no longer takes over the cores of the job by itself.
            "srun_args": [f"--cpus-per-task={resources.cpus}"],
            "setup": [*exports, *resources.setup], **{key: value for key, value in asked.items() if value is not None}}


def _python(resources: Resources) -> str:
    return " ".join([*([resources.container] if resources.container else []), shlex.quote(sys.executable)])


def outside_of_jobs() -> AbstractContextManager[None]:
    """A driver that is a job itself must not pass its own job's limits on to the jobs it submits."""
    own = [name for name in os.environ if name.startswith(("SLURM_", "SUBMITIT_")) and name != "SLURM_CONF"]
    return environment(dict.fromkeys(own))


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started inside do not hear Ctrl-C, which reaches all of a terminal's; the driver decides what it means."""
    if threading.current_thread() is not threading.main_thread():  # where alone Python lets one say so
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _leave_when_told() -> None:
    """Have submitit's handler of SIGUSR2, which requeues this job, end it without raising into a stage.

    ``scontrol requeue`` fails when SLURM has requeued the job before, or is away.  That is no failure of the stage, whose own
    code might also catch it.
    """
    handler = signal.getsignal(signal.SIGUSR2)
    if not callable(handler):
        return
    requeue: Callable[[int, FrameType | None], Any] = handler

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # scontrol inherits it: it is ended with this job, before it has answered
        try:
            requeue(number, frame)
        except Exception as error:
            sys.exit(f"not requeued by this job: {error}")

    signal.signal(signal.SIGUSR2, leave)


def _inputs_there(store: Store, spec: StageSpec) -> bool:
    try:
        return all(store.has(parent.fingerprint) for parent in spec.inputs.values())
    except StoreAway:
        return False


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not condition():
        time.sleep(1.0)
