"""Finished stage outputs on a shared file system, addressed by fingerprint.

``<root>/<fingerprint>/`` holds one output.  ``record.json``, written last and by rename, says that it is whole; without it
the folder is somebody's half-done work, to be carried on.  A claim file with a heartbeat makes one process the worker.
"""

import contextlib
import errno
import json
import os
import platform
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from smartad.fingerprint import file_sha256
from smartad.types import UserError

HEARTBEAT_S = 5.0
STALE_AFTER_S = 60.0
"""A claim of another machine whose heart has not beaten for so long is dead.  On this machine its process is asked."""
RECORD, CLAIM, PROGRESS, FAILURE, LOG = "record.json", ".claim", ".progress.json", ".failure.json", ".failure.log"
MARK = ".smartad-store"
"""At the root of every store, with its id: a root without it is an empty mount point."""


class StoreError(UserError):
    """The store cannot be read or written; the message says what to do."""


class StoreAway(StoreError):
    """The store's file system is not there, for the moment or for good."""


class ClaimLost(RuntimeError):
    """Another process took this work over while we were not heard of; what we have must not be sealed."""


@dataclass(frozen=True)
class Claim:
    """The right to work on one output."""

    path: Path
    token: str

    def held(self) -> bool:
        """Whether it is still ours."""
        return (_read_json(self.path) or {}).get("token") == self.token


class Store:
    """A folder of outputs.  Any number of processes on any number of machines may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._id = ""

    def open(self) -> "Store":
        """Make the root if need be.  Raises StoreError when it cannot be written."""
        with explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe-{uuid.uuid4().hex[:8]}"
            probe.write_text("x")
            probe.unlink()
            _create(self.root / MARK, {"id": uuid.uuid4().hex[:6]})
        return self

    def present(self) -> bool:
        """Whether its file system is there: one that is away looks like an empty store."""
        return os.path.exists(self.root / MARK)

    def id(self) -> str:
        """Six hex digits that tell this store's jobs from another's in a queue.  Raises StoreError where there is no store."""
        if not self._id:
            mark = _read_json(self.root / MARK)
            if mark is None:
                raise StoreAway(f"{self.root} is not a store, or its file system is away: {MARK} is not there")
            self._id = mark["id"]
        return self._id

    def folder(self, fingerprint: str) -> Path:
        """Where ``fingerprint``'s output is, or would be."""
        return self.root / fingerprint

    def has(self, fingerprint: str) -> bool:
        """Whether the output is whole."""
        return os.path.exists(self.root / fingerprint / RECORD)  # Path.exists raises where a network file system hangs

    def record(self, fingerprint: str) -> dict[str, Any]:
        """The record of a finished output.  Raises StoreError when there is none or it is damaged."""
        path = self.root / fingerprint / RECORD
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise StoreError(f"{fingerprint} is not finished in {self.root}") from error
        except ValueError as error:
            raise StoreError(f"{path} is damaged ({error}); delete the folder to have it made again") from error

    def fingerprints(self) -> list[str]:
        """Every finished output."""
        return sorted(path.parent.name for path in self.root.glob(f"*-*/{RECORD}"))

    def find(self, name: str) -> str:
        """The one finished output whose fingerprint starts with ``name``, or whose hash does.

        Raises StoreError when there is none, or several.
        """
        found = [f for f in self.fingerprints() if f.startswith(name) or f.rsplit("-", 1)[1].startswith(name)]
        if len(found) == 1 or name in found:
            return name if name in found else found[0]
        if not found:
            raise StoreError(f"nothing finished in {self.root} starts with {name!r}; `smartad status SWEEP` names its adapters, "
                             "and every folder in there is called by its fingerprint")
        raise StoreError(f"{name!r} is ambiguous in {self.root}: {', '.join(found[:8])}")

    def seal(self, claim: Claim, record: Mapping[str, Any]) -> None:
        """Declare the claimed output whole: ``record`` plus size and SHA-256 of every file, by rename.

        Raises ClaimLost when another process has taken over meanwhile.
        """
        folder = claim.path.parent
        files = {str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": file_sha256(path)}
                 for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")
                 and path.name != RECORD}
        if not claim.held():
            raise ClaimLost(f"{folder.name} was taken over by another process")
        write_json(folder / RECORD, {**record, "files": files})
        for name in (PROGRESS, FAILURE, LOG):
            (folder / name).unlink(missing_ok=True)

    def verify(self, fingerprint: str) -> list[str]:
        """What is wrong with a finished output's files, one line each; empty when all sizes and hashes are right."""
        folder, wrong = self.folder(fingerprint), []
        for name, expected in self.record(fingerprint)["files"].items():
            path = folder / name
            if not path.is_file():
                wrong.append(f"{path} is missing")
            elif path.stat().st_size != expected["size"]:
                wrong.append(f"{path} has {path.stat().st_size} bytes instead of {expected['size']}")
            elif file_sha256(path) != expected["sha256"]:
                wrong.append(f"{path} has changed since it was recorded")
        return wrong

    def failure(self, fingerprint: str) -> dict[str, Any] | None:
        """What was written down when the stage failed: class, message, time, host, job, final.  None when it did not."""
        return _read_json(self.root / fingerprint / FAILURE)

    def note_failure(self, fingerprint: str, kind: str, message: str, log: str = "", final: bool = True) -> None:
        """Leave a note beside an unfinished output for ``failure``, and the log for people.  ``final``: nobody tries again."""
        with contextlib.suppress(OSError):  # a full disk cannot hold the note that it is full
            self.folder(fingerprint).mkdir(exist_ok=True)
            if log:
                (self.folder(fingerprint) / LOG).write_text(log, encoding="utf-8")
            who = {"host": platform.node(), "job": _job(), "time": time.time()}
            write_json(self.folder(fingerprint) / FAILURE, {"class": kind, "message": message, "final": final, **who})

    def forget_failure(self, fingerprint: str) -> None:
        """It is to be tried again."""
        for name in (FAILURE, LOG):
            (self.folder(fingerprint) / name).unlink(missing_ok=True)

    def claimed(self, fingerprint: str) -> bool:
        """Whether a live process is working on it."""
        path = self.root / fingerprint / CLAIM
        return os.path.exists(path) and not self._dead(path)

    def worker(self, fingerprint: str) -> dict[str, Any] | None:
        """Who is working on it (host, pid, job, since); None when nobody alive is."""
        return (_read_json(self.root / fingerprint / CLAIM) or {}) if self.claimed(fingerprint) else None

    @contextmanager
    def claim(self, fingerprint: str) -> Iterator[Claim | None]:
        """A claim on ``fingerprint`` with a beating heart, or None when it is finished or somebody else's."""
        path = self.root / fingerprint / CLAIM
        with explained(self.root):
            path.parent.mkdir(exist_ok=True)  # not its parents: a store that is away is not made anew
            claim = None if self.has(fingerprint) else self._take(path)
        if claim is None or self.has(fingerprint):
            _release(claim)
            yield None
            return
        with _beating(claim):
            yield claim

    @contextmanager
    def lock(self, name: str) -> Iterator[Claim | None]:
        """The right to be the only one at ``name``, as with a claim; None when a live process has it."""
        path = self.root / f"{name}.lock"
        with explained(self.root):
            path.parent.mkdir(exist_ok=True)
            claim = self._take(path)
        if claim is None:
            yield None
            return
        with _beating(claim):
            yield claim

    def locked(self, name: str) -> dict[str, Any] | None:
        """Who is at ``name`` (host, pid, job, since); None when nobody alive is."""
        path = self.root / f"{name}.lock"
        return _read_json(path) if path.exists() and not self._dead(path) else None

    def _take(self, path: Path) -> Claim | None:
        claim = Claim(path, uuid.uuid4().hex)
        if _create(path, {"token": claim.token, **_whoami()}):
            return claim
        if not self._dead(path):
            return None
        # Only one process may ever remove the claim with a given token, or a third one could remove its successor.
        dead = _read_json(path) or {"token": "torn"}
        takeover = path.with_name(f"{path.name}.takeover-{dead.get('token')}")
        if not _create(takeover, _whoami()):
            if self._dead(takeover):
                takeover.unlink(missing_ok=True)
            return None
        try:
            if (_read_json(path) or {"token": "torn"}).get("token") == dead.get("token"):
                path.unlink(missing_ok=True)
                return claim if _create(path, {"token": claim.token, **_whoami()}) else None
            return None
        finally:
            takeover.unlink(missing_ok=True)

    def _dead(self, path: Path) -> bool:
        try:
            beat = path.stat().st_mtime
        except OSError:
            return False
        owner = _read_json(path)
        here = _whoami()
        if owner and all(owner.get(k) == here[k] for k in ("host", "boot", "pid_namespace")):
            return _started(owner["pid"]) != owner["started"]
        if owner and here["job"] and owner.get("job") == here["job"] and owner["restart"] < here["restart"]:
            return True  # of this very job before it was requeued
        return self._clock() - beat > STALE_AFTER_S

    def _clock(self) -> float:
        """Now, by the clock of the file system that stamps the heartbeats: machines' clocks differ."""
        tick = self.root / f".clock-{os.getpid()}-{threading.get_ident()}"
        try:
            tick.touch()
            now = tick.stat().st_mtime
            tick.unlink(missing_ok=True)
            return now
        except OSError:  # a store that can only be read
            return time.time()


@contextmanager
def explained(root: Path) -> Iterator[None]:
    """Turn a full, read-only or forbidden disk into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.filename and not Path(os.fsdecode(error.filename)).is_relative_to(root):
            raise
        # numpy says of a full disk only how much it wrote.
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or (error.errno is None and "requested and" in str(error)):
            raise StoreError(f"the disk of the store {root} is full ({error.strerror or error}). Free some space, or use "
                             "--store ELSEWHERE; what is finished is kept, run the same command again to go on") from error
        gone = error.errno == errno.ENOENT and not (root / MARK).exists()
        if gone or error.errno in (errno.EIO, errno.ESTALE) or (error.errno == errno.ENOTCONN and error.filename):
            raise StoreAway(f"the file system of the store {root} does not answer ({error.strerror}: {error.filename}); what is "
                            "finished is kept, run the same command again when it is back") from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.ENOENT):
            raise StoreError(f"the store {root} cannot be written ({error.strerror}: {error.filename}); "
                             "use --store ELSEWHERE") from error
        raise


def write_json(path: Path, value: Any) -> None:
    """Write by rename: readers see the old file or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(value, file, indent=2, sort_keys=True, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _create(path: Path, content: Mapping[str, Any]) -> bool:
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
def _beating(claim: Claim) -> Iterator[None]:
    """Keep ``claim`` alive, and give it back at the end."""
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(claim, stop), daemon=True)
    heart.start()
    try:
        yield
    finally:
        stop.set()
        heart.join()
        _release(claim)


def _release(claim: Claim | None) -> None:
    if claim and claim.held():
        claim.path.unlink(missing_ok=True)


def _whoami() -> dict[str, Any]:
    return {**_here(), "pid": os.getpid(), "started": _started(os.getpid()), "since": time.time(),
            "job": _job(), "restart": int(os.environ.get("SLURM_RESTART_COUNT") or 0)}


def _job() -> str | None:
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
