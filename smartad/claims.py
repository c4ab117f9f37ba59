"""Who works on what: claim files with a heartbeat, by which one process of many machines is the worker."""

import contextlib
import json
import os
import platform
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from smartad.records import NO_ANSWER, read_json

HEARTBEAT_S = 5.0
STALE_AFTER_S = 60.0
"""A claim of another machine whose heart has not beaten for so long is dead.  On this machine its process is asked."""


class ClaimLost(RuntimeError):
    """Another process took this work over while we were not heard of; what we have must not be sealed."""


@dataclass(frozen=True)
class Claim:
    """The right to work on one output."""

    path: Path
    token: str

    def held(self) -> bool:
        """Whether it is still ours.  Raises OSError when that cannot be told: its folder does not answer, or is not there."""
        os.stat(self.path.parent)
        return (read_json(self.path) or {}).get("token") == self.token


def new(path: Path) -> Claim:
    """A claim that is yet to be taken."""
    return Claim(path, uuid.uuid4().hex)


def take(root: Path, claim: Claim) -> bool:
    """Whether ``claim``, in the store at ``root``, is ours now; False when a live process has it."""
    path = claim.path
    if create(path, {"token": claim.token, **whoami()}):
        return True
    if not dead(root, path):
        return False
    # Only one process may ever remove the claim with a given token, or a third one could remove its successor.
    gone = read_json(path) or {"token": "torn"}
    takeover = path.with_name(f"{path.name}.takeover-{gone.get('token')}")
    if not create(takeover, whoami()):
        if dead(root, takeover):
            takeover.unlink(missing_ok=True)
        return False
    try:
        if (read_json(path) or {"token": "torn"}).get("token") == gone.get("token"):
            path.unlink(missing_ok=True)
            return create(path, {"token": claim.token, **whoami()})
        return False
    finally:
        takeover.unlink(missing_ok=True)


def dead(root: Path, path: Path) -> bool:
    """Whether nobody alive holds ``path``."""
    try:
        beat = path.stat().st_mtime
    except OSError as error:
        if error.errno in NO_ANSWER:
            raise
        return False
    owner = read_json(path)
    here = whoami()
    if owner and all(owner.get(k) == here[k] for k in ("host", "boot", "pid_namespace")):
        return _started(owner["pid"]) != owner["started"]
    if owner and here["job"] and owner.get("job") == here["job"] and owner["restart"] < here["restart"]:
        return True  # of this very job before it was requeued
    return _clock(root) - beat > STALE_AFTER_S


def _clock(root: Path) -> float:
    """Now, by the clock of the file system that stamps the heartbeats: machines' clocks differ."""
    tick = root / f".clock-{os.getpid()}-{threading.get_ident()}"
    try:
        tick.touch()
        now = tick.stat().st_mtime
        tick.unlink(missing_ok=True)
        return now
    except OSError as error:
        if error.errno in NO_ANSWER:
            raise
        return time.time()  # a store that can only be read


def create(path: Path, content: Mapping[str, Any]) -> bool:
    """Whether it was this call that made the file: of all that try, one does."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(content))
    return True


def _beat(claim: Claim, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        with contextlib.suppress(OSError):  # a shared file system may be gone for a moment; the next beat tries again
            if claim.held():
                os.utime(claim.path)


@contextmanager
def held(claim: Claim) -> Iterator[Callable[[], None]]:
    """Take ``claim`` inside, and call what this gives to keep it alive; at the end it is given back.

    A signal may end this process as soon as the file is there, before whoever made it knows.
    """
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(claim, stop), daemon=True)
    try:
        yield heart.start
    finally:
        stop.set()
        if heart.is_alive():
            heart.join()
        _release(claim)


def _release(claim: Claim) -> None:
    """Give it back, if it is still ours.  While the store is away it looks alive as long as this process is: try later again."""
    try:
        if claim.held():
            claim.path.unlink(missing_ok=True)
    except OSError:
        if not os.path.isdir(claim.path.parent) and os.path.isdir(claim.path.parent.parent):
            return  # somebody has removed what it was of
        again = threading.Timer(HEARTBEAT_S, _release, [claim])
        again.daemon = True
        again.start()


def whoami() -> dict[str, Any]:
    """This process, as a claim tells of it."""
    return {**_here(), "pid": os.getpid(), "started": _started(os.getpid()), "since": time.time(),
            "job": job(), "restart": int(os.environ.get("SLURM_RESTART_COUNT") or 0)}


def job() -> str | None:
    """The SLURM job that this process is of, as squeue calls it: ``1234`` or ``1234_5``."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


@cache
def _here() -> dict[str, str]:
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    return {"host": socket.gethostname(), "boot": boot.read_text().strip() if boot.exists() else platform.node(),
            "pid_namespace": os.readlink(namespace) if namespace.exists() else ""}


def _started(pid: int) -> str | None:
    """When a process of this machine started, so that a reused pid is not mistaken for it; None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else fields[18]
