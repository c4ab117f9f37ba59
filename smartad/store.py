"""Finished stage outputs on a shared file system, addressed by fingerprint.

``<root>/<fingerprint>/`` holds one output.  ``record.json``, written last and by rename, says that it is whole; without it
the folder is somebody's half-done work, to be carried on.  A claim file with a heartbeat makes one process the worker.
"""

import contextlib
import errno
import json
import os
import platform
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from smartad import claims
from smartad.claims import Claim, ClaimLost, create
from smartad.fingerprint import FINGERPRINT, file_sha256
from smartad.records import is_there, read_json, write_json
from smartad.redact import redact
from smartad.stage import RECORD, output_files
from smartad.types import UserError

CLAIM, PROGRESS, RAN, FAILURE, LOG = ".claim", ".progress.json", ".ran.json", ".failure.json", ".failure.log"
JUDGED = "judged"
"""Folder of what judges have said, which all stages share."""
MARK = ".smartad-store"
"""At the root of every store, with its id: a root without it is an empty mount point."""


class StoreError(UserError):
    """The store cannot be read or written; the message says what to do."""


class StoreAway(StoreError):
    """The store's file system is not there, for the moment or for good."""


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
            create(self.root / MARK, {"id": uuid.uuid4().hex[:6]})
        return self

    def present(self) -> bool:
        """Whether its file system is there: one that is away looks like an empty store."""
        return os.path.exists(self.root / MARK)

    def id(self) -> str:
        """Six hex digits that tell this store's jobs from another's in a queue.  Raises StoreError where there is no store."""
        if not self._id:
            with answered(self.root):
                mark = read_json(self.root / MARK)
            if mark is None:
                raise StoreAway(f"{self.root} is not a store, or its file system is away: {MARK} is not there")
            self._id = mark["id"]
        return self._id

    def folder(self, fingerprint: str) -> Path:
        """Where ``fingerprint``'s output is, or would be."""
        return self.root / fingerprint

    def has(self, fingerprint: str) -> bool:
        """Whether the output is whole.  This and what follows raises StoreAway when the file system does not answer."""
        with answered(self.root):
            return is_there(self.root / fingerprint / RECORD)

    def record(self, fingerprint: str) -> dict[str, Any]:
        """The record of a finished output.  Raises StoreError when there is none or it is damaged."""
        path = self.root / fingerprint / RECORD
        with answered(self.root):
            try:
                return json.loads(path.read_text(encoding="utf-8"))
            except FileNotFoundError as error:
                raise StoreError(f"{fingerprint} is not finished in {self.root}") from error
            except ValueError as error:
                raise StoreError(f"{path} is damaged ({error}); delete the folder to have it made again") from error

    def fingerprints(self) -> list[str]:
        """Every finished output."""
        return sorted(path.parent.name for path in self.root.glob(f"*-*/{RECORD}"))

    def begun(self) -> list[str]:
        """Every stage that has a folder, finished or not."""
        try:
            return sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir() and FINGERPRINT.fullmatch(entry.name))
        except FileNotFoundError:
            return []

    def inputs(self, fingerprint: str) -> list[str]:
        """Fingerprints of what an output was made from; empty when it is not finished."""
        return list(self.record(fingerprint)["identity"]["inputs"].values()) if self.has(fingerprint) else []

    def upstream(self, fingerprints: Iterable[str]) -> list[str]:
        """``fingerprints`` and everything they were made from, finished or no longer there, each once, inputs before users."""
        found: dict[str, None] = {}

        def visit(fingerprint: str) -> None:
            if fingerprint not in found:
                for parent in self.inputs(fingerprint):
                    visit(parent)
                found[fingerprint] = None

        for fingerprint in fingerprints:
            visit(fingerprint)
        return list(found)

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
        files = {name: seen(path) for name, path in output_files(folder).items()}
        if not claim.held():
            raise ClaimLost(f"{folder.name} was taken over by another process")
        write_json(folder / RECORD, {**record, "files": files})
        for name in (PROGRESS, RAN, FAILURE, LOG):
            (folder / name).unlink(missing_ok=True)

    def text(self, fingerprint: str, name: str) -> TextIO:
        """A file of a finished output, open for reading.  Raises StoreError when it is gone."""
        path = self.folder(fingerprint) / name
        try:
            with answered(self.root):
                return path.open(encoding="utf-8")
        except FileNotFoundError as error:
            raise StoreError(f"{fingerprint} is finished, and its {name} is gone: {path}. `smartad walk CELL` says what else is "
                             f"damaged; to make it again, delete {path.parent} and run the sweep again") from error

    def verify(self, fingerprint: str) -> list[str]:
        """What is wrong with a finished output's files, one line each; empty when all sizes and hashes are right."""
        folder, files = self.folder(fingerprint), self.record(fingerprint)["files"]
        return [wrong for name, expected in files.items() if (wrong := fault(folder / name, expected))]

    def failure(self, fingerprint: str) -> dict[str, Any] | None:
        """What was written down when the stage failed: class, message, time, host, job, final.  None when it did not."""
        with answered(self.root):
            return read_json(self.root / fingerprint / FAILURE)

    def note_failure(self, fingerprint: str, kind: str, message: str, log: str = "", final: bool = True) -> None:
        """Leave a note beside an unfinished output for ``failure``, and the log for people, without secrets.

        ``final``: nobody tries again.
        """
        with contextlib.suppress(OSError):  # a full disk cannot hold the note that it is full
            self.folder(fingerprint).mkdir(exist_ok=True)
            if log:
                (self.folder(fingerprint) / LOG).write_text(redact(log), encoding="utf-8")
            who = {"host": platform.node(), "job": claims.job(), "time": time.time()}
            write_json(self.folder(fingerprint) / FAILURE, {"class": kind, "message": redact(message), "final": final, **who})

    def forget_failure(self, fingerprint: str) -> None:
        """It is to be tried again."""
        for name in (FAILURE, LOG):
            (self.folder(fingerprint) / name).unlink(missing_ok=True)

    def claimed(self, fingerprint: str) -> bool:
        """Whether a live process is working on it."""
        path = self.root / fingerprint / CLAIM
        with answered(self.root):
            return is_there(path) and not claims.dead(self.root, path)

    def worker(self, fingerprint: str) -> dict[str, Any] | None:
        """Who is working on it (host, pid, job, since); None when nobody alive is."""
        with answered(self.root):
            return (read_json(self.root / fingerprint / CLAIM) or {}) if self.claimed(fingerprint) else None

    @contextmanager
    def claim(self, fingerprint: str) -> Iterator[Claim | None]:
        """A claim on ``fingerprint`` with a beating heart, or None when it is finished or somebody else's."""
        claim = claims.new(self.root / fingerprint / CLAIM)
        with claims.held(claim) as beat:
            with explained(self.root):
                claim.path.parent.mkdir(exist_ok=True)  # not its parents: a store that is away is not made anew
                taken = not self.has(fingerprint) and claims.take(self.root, claim)
            if taken:
                beat()
            yield claim if taken and not self.has(fingerprint) else None

    @contextmanager
    def lock(self, name: str) -> Iterator[Claim | None]:
        """The right to be the only one at ``name``, as with a claim; None when a live process has it."""
        claim = claims.new(self.root / f"{name}.lock")
        with claims.held(claim) as beat:
            with explained(self.root):
                claim.path.parent.mkdir(exist_ok=True)
                taken = claims.take(self.root, claim)
            if taken:
                beat()
            yield claim if taken else None

    def locked(self, name: str) -> dict[str, Any] | None:
        """Who is at ``name`` (host, pid, job, since); None when nobody alive is."""
        path = self.root / f"{name}.lock"
        with answered(self.root):
            if not is_there(path) or claims.dead(self.root, path):
                return None
            return read_json(path) or {"host": "?", "pid": "?"}  # it is being written at this very moment


def seen(path: Path) -> dict[str, Any]:
    """A file as it is recorded: size in bytes, and SHA-256."""
    return {"size": path.stat().st_size, "sha256": file_sha256(path)}


def fault(path: Path, recorded: Any) -> str:
    """What is wrong with a file of which ``recorded`` was seen; empty when nothing is."""
    if not isinstance(recorded, Mapping) or not {"size", "sha256"} <= recorded.keys():
        return f"there is no size and SHA-256 on record for {path}"
    if not path.is_file():
        return f"{path} is missing"
    if path.stat().st_size != recorded["size"]:
        return f"{path} has {path.stat().st_size} bytes instead of {recorded['size']}"
    return "" if file_sha256(path) == recorded["sha256"] else f"{path} has changed since it was recorded"


def away(root: Path, why: str = "") -> StoreAway:
    """The error that says so."""
    return StoreAway(f"the file system of the store {root} does not answer{f' ({why})' if why else ''}; what is finished is "
                     "kept, run the same command again when it is back")


@contextmanager
def answered(root: Path) -> Iterator[None]:
    """Turn a file system that is away into StoreAway."""
    try:
        yield
    except OSError as error:
        if not _below(root, error):
            raise
        gone = error.errno == errno.ENOENT and not os.path.exists(root / MARK)
        if gone or error.errno in (errno.EIO, errno.ESTALE) or (error.errno == errno.ENOTCONN and error.filename):
            raise away(root, f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)) from error
        raise


def _below(root: Path, error: OSError) -> bool:
    """Whether an error may be about the store: about reading and writing a file that is open, none says which it is."""
    return not error.filename or Path(os.fsdecode(error.filename)).is_relative_to(root)


@contextmanager
def explained(root: Path) -> Iterator[None]:
    """Turn a full, read-only or forbidden disk, or one that is away, into a StoreError that says what to do."""
    try:
        with answered(root):
            yield
    except OSError as error:
        if not _below(root, error):
            raise
        # numpy says of a full disk only how much it wrote.
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or (error.errno is None and "requested and" in str(error)):
            raise StoreError(f"the disk of the store {root} is full ({error.strerror or error}). Free some space, or use "
                             "--store ELSEWHERE; what is finished is kept, run the same command again to go on") from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.ENOENT):
            raise StoreError(f"the store {root} cannot be written ({error.strerror}: {error.filename}); "
                             "use --store ELSEWHERE") from error
        raise
