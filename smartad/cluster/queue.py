"""What SLURM says: the queue, and how a job ended.  Every question may go unanswered."""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from smartad.cluster.base import Failure
from smartad.cluster.submission import Place
from smartad.store import Store

ANSWER_S = 30.0
LOG_TAIL = 20_000
HOPELESS = ("requeued held", "requeued_held", "DependencyNeverSatisfied", "BadConstraints", "JobHeldAdmin", "JobHoldMaxRequeue")
"""Reasons for which a job waits for ever, and another submission may not.  A job that its owner holds is theirs to release."""
SIGNALLED = 128
"""A shell's exit codes above it are signals, which are sent by somebody, or come from a processor that lacks an instruction."""
TROUBLE = re.compile(r"^srun: error: (?!.*Exited with exit code)", re.MULTILINE)
"""srun could not do its part: that is the cluster's."""
EXECVE = re.compile(r"^slurmstepd\S*: error: execve\(\): ", re.MULTILINE)


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
    state, code = outcome(place.element) if place.element else ("", 0)
    log = tail(place.folder / f"{place.element}_0_log.err")
    kind = next((kind for kind, states, _ in _SIGNS if state.startswith(states)), None) or _last_word(log)
    said = f"job {place.element}: {state or 'not known to SLURM any more'}{f' with exit code {code}' if code else ''}"
    where = f"; log {place.logs()[-1]}" if place.logs() else ""
    if kind is None and state == "FAILED" and 0 < code <= SIGNALLED and _never_began(place, log):
        own = own_lines(log) or own_lines(tail(place.folder / f"{place.element}_0_log.out"))
        return Failure("user error", f"{said} before Python began{f': {own[-1]}' if own else ''}{where}")
    own = own_lines(log) if kind == "error" else []
    return Failure(kind or "node", f"{said}{f': {own[-1]}' if own else ''}{where}")


def _never_began(place: Place, log: str) -> bool:
    """Whether the profile's setup or container has failed: on another node it would fail the same way."""
    if not place.logs() or TROUBLE.search(log):  # a node without the store's file system leaves no log
        return False
    for path in place.logs():
        with path.open(encoding="utf-8", errors="replace") as file:
            if any(line.startswith("submitit INFO") for line in file):
                return False
    return True


def own_lines(log: str) -> list[str]:
    """What the job itself wrote, without what SLURM says about it; but that a command is not there, SLURM alone says."""
    lines = EXECVE.sub("cannot execute ", log).strip().splitlines()
    return [line for line in lines if line and not line.startswith(("srun:", "slurmstepd"))]


def _last_word(log: str) -> str | None:
    """The class of failure that a log ends with: a job that was preempted before may have gone wrong by itself since."""
    found = {kind: max(match.start() for match in matches) for kind, _, words in _SIGNS
             if (matches := list(re.finditer(words, log, re.IGNORECASE | re.MULTILINE)))}
    return "disk" if "disk" in found else max(found, key=found.__getitem__, default=None)  # a lost disk is lamented at length


_SIGNS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("oom", ("OUT_OF_MEMORY",), r"oom[-_ ]kill|exceeded (job |step )?memory limit|DUE TO MEMORY"),
    ("timeout", ("TIMEOUT", "DEADLINE"), r"DUE TO TIME LIMIT|timed-out too many times"),
    ("node", ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED"), r"DUE TO (NODE FAILURE|PREEMPTION|JOB REQUEUE)"),
    ("cancelled", ("CANCELLED",), r"CANCELLED AT (?!.*DUE TO)"),
    ("disk", (), r"Could not dump error|Stale file handle|No space left on device|Disk quota exceeded"),
    ("error", (), r"^Traceback"))
"""Class of failure, what SLURM's word for the job begins with, what the log says."""


def outcome(job: str) -> tuple[str, int]:
    """``FAILED``, ``TIMEOUT``, ..., and the exit code; ``"", 0`` when nobody remembers."""
    try:
        told = command("scontrol", "show", "job", "-o", job)
        if match := re.search(r"JobState=(\S+).* ExitCode=(\d+)", told):
            return match[1], int(match[2])
    except SlurmError:
        pass
    try:  # sites without accounting have nobody to ask here
        told = command("sacct", "-n", "-X", "-P", "-j", job, "-o", "State,ExitCode")
        match = re.match(r"(\w+).*\|(\d+)", told)
        return (match[1], int(match[2])) if match else ("", 0)
    except SlurmError:
        return "", 0


def tail(log: Path) -> str:
    """The end of what a job wrote, in all its starts; empty when there is nothing."""
    try:
        with log.open("rb") as file:
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
