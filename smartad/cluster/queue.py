"""What SLURM says: the queue, and how a job ended.  Every question may go unanswered."""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from smartad.cluster.base import Failure
from smartad.cluster.submission import Place
from smartad.store import Store

ANSWER_S = 30.0
LOG_TAIL = 20_000
HOPELESS = ("requeued held", "requeued_held", "DependencyNeverSatisfied", "BadConstraints", "JobHeldAdmin", "JobHoldMaxRequeue")
"""Reasons for which a job waits for ever, and another submission may not.  A job that its owner holds is theirs to release."""


class SlurmError(RuntimeError):
    """SLURM did not answer, or refused."""


@dataclass(frozen=True)
class Queued:
    """One job of this store in the queue."""

    id: str
    """``1234_5`` or ``1234``."""
    tag: str
    """Of its submission."""
    index: int
    """Its element of the array."""
    state: str
    """PENDING, RUNNING, COMPLETING, ..."""
    reason: str
    """Why it is pending, in SLURM's words (Resources, Priority, JobHeldUser, ...)."""

    def hopeless(self) -> bool:
        """Whether it will never start by itself."""
        return self.state == "PENDING" and any(word in self.reason for word in HOPELESS)


def queue(store: Store) -> list[Queued]:
    """This store's jobs in the queue, job arrays element by element.  Raises SlurmError when SLURM does not answer."""
    mine = f".{store.id()}-"
    found = []
    for line in command("squeue", "-h", "-r", "--me", "-o", "%i|%j|%T|%r").splitlines():
        id, name, state, reason = line.split("|", 3)
        if mine in name:
            _, _, index = id.partition("_")
            found.append(Queued(id, name.split(".", 1)[1], int(index or 0), state, reason))
    return found


def cancel(jobs: Iterable[str]) -> None:
    """Take ``jobs`` out of the queue.  Raises SlurmError when SLURM does not answer; a job that is gone is no error."""
    ids = sorted(jobs)
    for start in range(0, len(ids), 200):
        command("scancel", *ids[start:start + 200])


def ended(place: Place) -> Failure:
    """Why a job that is no longer queued did not finish its stage, from what SLURM remembers and what the log says."""
    state, log = _state(place), _log(place)
    where = f"; log {place.logs()[-1]}" if place.logs() else ""
    said = f"job {place.element}: {state or 'not known to SLURM any more'}"
    kind = next((kind for kind, states, _ in _SIGNS if state.startswith(states)), None) or _last_word(log)
    own = [line for line in log.strip().splitlines() if not line.startswith(("srun:", "slurmstepd"))]
    return Failure(kind, f"{said}: {own[-1]}{where}" if kind == "error" and own else said + where)


def _last_word(log: str) -> str:
    """The class of failure that a log ends with: a job that was preempted before may have gone wrong by itself since."""
    found = {kind: max(match.start() for match in matches) for kind, _, words in _SIGNS
             if (matches := list(re.finditer(words, log, re.IGNORECASE | re.MULTILINE)))}
    return "disk" if "disk" in found else max(found, key=found.__getitem__, default="node")  # a lost disk is lamented at length


_SIGNS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("oom", ("OUT_OF_MEMORY",), r"oom[-_ ]kill|exceeded (job |step )?memory limit|DUE TO MEMORY"),
    ("timeout", ("TIMEOUT", "DEADLINE"), r"DUE TO TIME LIMIT|timed-out too many times"),
    ("node", ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED"), r"DUE TO (NODE FAILURE|PREEMPTION|JOB REQUEUE)"),
    ("cancelled", ("CANCELLED",), r"CANCELLED AT (?!.*DUE TO)"),
    ("disk", (), r"Could not dump error|Stale file handle|No space left on device|Disk quota exceeded"),
    ("error", (), r"^Traceback"))
"""Class of failure, what SLURM's word for the job begins with, what the log says."""


def _state(place: Place) -> str:
    """``FAILED``, ``TIMEOUT``, ...; empty when nobody remembers."""
    if place.element is None:
        return ""
    try:
        told = command("scontrol", "show", "job", "-o", place.element)
        if match := re.search(r"JobState=(\S+)", told):
            return match[1]
    except SlurmError:
        pass
    try:  # sites without accounting have nobody to ask here
        told = command("sacct", "-n", "-X", "-P", "-j", place.element, "-o", "State")
        return told.split()[0] if told.split() else ""
    except SlurmError:
        return ""


def _log(place: Place) -> str:
    """The end of the job's standard error, of all its starts."""
    if not place.job:
        return ""
    try:
        with (place.folder / f"{place.element}_0_log.err").open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - LOG_TAIL))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def command(*words: str) -> str:
    """A SLURM command's output.  Raises SlurmError with what it said."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=ANSWER_S, check=True)
    except FileNotFoundError as error:
        raise SlurmError(f"no {words[0]} here: is this a login node of the cluster?") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{words[0]} did not answer within {ANSWER_S:g} s") from error
    except subprocess.CalledProcessError as error:
        raise SlurmError(f"{words[0]}: {' '.join(error.stderr.split()) or f'exit status {error.returncode}'}") from error
    return done.stdout
