"""What a store could do without, and its removal (docs/decisions/010-what-gc-keeps.md says what is kept, and why).

Nobody may drive anything meanwhile.  A driver takes its own lock and then waits while GC is held; whoever clears up takes GC and
then looks for drivers: whichever comes second sees the other.
"""

import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smartad import registry
from smartad.cluster import code, submission
from smartad.registry import Entry
from smartad.stage import RECORD
from smartad.store import JUDGED, Store
from smartad.sweep import ledger
from smartad.sweep.state import Jobs, jobs_of
from smartad.types import UserError

GC = "gc"
"""The lock of whoever clears up."""
RUNS = "drivers"
"""Folder of the locks of drivers that have no sweep."""
YOUNG_S = 3600.0
"""What was touched since may be somebody's who has yet to say so: a snapshot before its first submission, a file before it is
renamed.  Stages are not judged by their age."""
GONE = ".gone-"
"""Begins the name of what is being removed."""
LEFTOVERS = (f"{GONE}*", ".probe-*", ".clock-*", ".*.tmp", "*.takeover-*", f"{RUNS}/*.lock", "sweeps/.*.tmp",
             f"{JUDGED}/*/.*.tmp")


@dataclass(frozen=True)
class Garbage:
    """Something that could go."""

    path: Path
    kind: Literal["stage", "leftover", "job", "code"]
    why: str
    size: int
    """Bytes."""


def cited(store: Store, without: str | None = None) -> set[str]:
    """Fingerprints that a ledger in the store names, that an alias means with the evaluations of it, and all these came from.

    ``without``: as if this sweep had been forgotten.  Raises StoreError when a record that would say so is damaged.
    """
    adapters = {str(entry.fingerprint) for entry in registry.current(store) if without is None or not said_by(entry, without)}
    names = [name for name in ledger.names(store) if name != without]
    todo = [*adapters, *_evaluations(store, adapters), *(f for name in names for f in ledger.load(store, name).stages())]
    return set(store.upstream(todo))


def said_by(entry: Entry, sweep: str) -> bool:
    """Whether it was the sweep itself that gave an alias, and no person."""
    return entry.sweep == sweep and entry.by == registry.BY_SWEEP


def _evaluations(store: Store, adapters: set[str]) -> set[str]:
    """The evaluations of ``adapters`` and their grades: without them nobody would know how good they are, and how they act."""
    finished = [f for f in store.fingerprints() if adapters and f.startswith(("evaluate-", "grade-"))]
    attempts = {f for f in finished if f.startswith("evaluate-") and adapters.intersection(store.inputs(f))}
    return attempts | {f for f in finished if f.startswith("grade-") and attempts.intersection(store.inputs(f))}


def find(store: Store, jobs: Jobs) -> list[Garbage]:
    """What could go now, in the order in which to remove it."""
    keep = cited(store)
    stages = _stages(store, keep, jobs)
    submissions = _submissions(store, keep, jobs)
    return [*_leftovers(store, keep), *stages, *submissions, *_snapshots(store, {item.path for item in submissions})]


def _stages(store: Store, keep: set[str], jobs: Jobs) -> list[Garbage]:
    """Users before their inputs: killed in the middle, nothing finished is left without what it was made from."""
    uncited = [f for f in store.begun() if f not in keep and f not in jobs.of and not store.claimed(f)]
    ordered: dict[str, None] = {}

    def visit(fingerprint: str) -> None:
        if fingerprint not in ordered and fingerprint in among:
            for parent in store.inputs(fingerprint):
                visit(parent)
            ordered[fingerprint] = None

    among = set(uncited)
    for fingerprint in uncited:
        visit(fingerprint)
    return [_garbage(store.folder(f), "stage", "finished; no table and no alias cites it" if store.has(f) else
                     "half done; no sweep asks for it") for f in reversed(ordered)]


def _leftovers(store: Store, keep: set[str]) -> list[Garbage]:
    places = [store.root, *(store.folder(f) for f in keep if store.has(f))]
    found = {path for place in places for pattern in LEFTOVERS for path in place.glob(pattern)}
    return [_garbage(path, "leftover", "left by a process that was killed") for path in sorted(found)
            if path.name.startswith(GONE) or _old(path)]


def _submissions(store: Store, keep: set[str], jobs: Jobs) -> list[Garbage]:
    """Folders of jobs that have nothing left to do."""
    queued = {job.tag for job in [*jobs.of.values(), *jobs.drivers.values()]}
    found = []
    for path in sorted(submission.folder(store).glob("*")):
        own = submission.read(store, path.name)
        if path.name in queued or not _old(path):
            continue
        if own:
            stages = [f for pack in own.packs for f in pack]
            if not any(f in jobs.of or store.claimed(f) or (f in keep and not store.has(f)) for f in stages):
                found.append(_garbage(path, "job", "its stages are all finished or gone"))
        elif not _drives(store, path.name, jobs):
            found.append(_garbage(path, "job", "of a driver whose sweep has ended or is gone"
                                  if path.name.startswith("driver-") else "never handed over"))
    return found


def _drives(store: Store, name: str, jobs: Jobs) -> bool:
    """Whether the folder ``name`` is of the driver of a sweep that goes on."""
    sweep = name.removeprefix("driver-").rpartition("-")[0]
    if not name.startswith("driver-") or sweep not in ledger.names(store):
        return sweep in jobs.drivers
    return sweep in jobs.drivers or not all(store.has(f) for f in ledger.load(store, sweep).stages())


def _snapshots(store: Store, doomed: set[Path]) -> list[Garbage]:
    """Code that no submission that stays has been given."""
    staying = [path for path in submission.folder(store).glob("*") if path not in doomed]
    said = "".join(file.read_text(encoding="utf-8", errors="replace") for path in staying
                   for file in [*path.glob("*.json"), *path.glob("*.sh")])
    return [_garbage(path, "code", "no job that is left runs it") for path in sorted(code.folder(store).glob("*"))
            if path.is_dir() and path.name not in said and _old(path)]


def _garbage(path: Path, kind: Literal["stage", "leftover", "job", "code"], why: str) -> Garbage:
    return Garbage(path, kind, why, size(path))


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [Path(at) / name for at, _, names in os.walk(path) for name in names]
    return sum(file.lstat().st_size for file in files if os.path.lexists(file))


def _old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > YOUNG_S
    except OSError:  # gone meanwhile
        return False


def in_the_way(store: Store, jobs: Jobs) -> list[str]:
    """Why nothing can be removed now, a line each; empty when it can."""
    found = [f"{_driver(path.stem)} is driven by process {who.get('pid')} on {who.get('host')}"
             for path in sorted([*store.root.glob("sweeps/*.lock"), *store.root.glob(f"{RUNS}/*.lock")])
             if (who := store.locked(str(path.relative_to(store.root).with_suffix(""))))]
    keep = cited(store)
    unknown = "what that needs cannot be known, as no sweep and no alias cites it"
    found += [f"process {who.get('pid')} on {who.get('host')} is at {f}, and {unknown}"
              for f in store.begun() if f not in keep and (who := store.worker(f)) is not None]
    found += [f"job {job.id} is queued for {f}, and {unknown}" for f, job in jobs.of.items() if f not in keep]
    if silent := jobs.problem or ("" if shutil.which("squeue") else "there is no squeue here"):
        found += [f"{f} was submitted to SLURM, and whether its job is queued cannot be told: {silent}"
                  for f, place in _submitted(store) if place == "slurm" and f not in keep and not store.has(f)][:1]
    return found


def _driver(name: str) -> str:
    """What the lock ``name`` is of."""
    return f"run {name.removeprefix('run-')}" if name.startswith("run-") else f"sweep {name}"


def _submitted(store: Store) -> Iterable[tuple[str, str]]:
    """(fingerprint, cluster) of everything that was ever submitted and not cleared up since."""
    if submission.folder(store).is_dir():
        for own in submission.submissions(store):
            for pack in own.packs:
                yield from ((f, own.cluster) for f in pack)


def clear(store: Store) -> Iterator[Garbage]:
    """Remove what could go, one by one, saying what has gone.

    Raises UserError, before anything is removed, when somebody is at work who might need it.
    """
    with store.lock(GC) as claim, store.lock(registry.LOCK) as names:
        if claim is None or names is None:
            raise UserError(f"somebody else is clearing up {store.root}, or naming an adapter in it; try again in a moment")
        jobs = jobs_of(store)
        if obstacles := in_the_way(store, jobs):
            raise UserError(f"{'; '.join(obstacles)}. Nothing was removed; run this again when that has changed")
        for item in find(store, jobs):
            if _remove(store, item):
                yield item


def _remove(store: Store, item: Garbage) -> bool:
    """Whether it is gone."""
    if item.kind == "stage":
        return remove_stage(store, item.path)
    if item.kind == "code":
        code.remove(item.path)
    elif item.path.is_dir():
        _remove_folder(store, item.path)
    else:
        item.path.unlink(missing_ok=True)
    return True


def remove_stage(store: Store, folder: Path) -> bool:
    """Whether it is gone.  The record first: from then on it is half-done work, never a finished stage with files missing."""
    (folder / RECORD).unlink(missing_ok=True)
    with store.claim(folder.name) as claim:
        if claim is None:  # somebody makes it again
            return False
        _remove_folder(store, folder)
    return True


def _remove_folder(store: Store, folder: Path) -> None:
    """By another name first: half a folder of files is never carried on from."""
    doomed = store.root / f"{GONE}{uuid.uuid4().hex[:8]}"
    folder.rename(doomed)
    shutil.rmtree(doomed)
