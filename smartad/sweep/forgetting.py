"""Letting go of a sweep: its ledger and what lies beside it, and the aliases that it gave.  And of a grade, to grade again."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from smartad import registry
from smartad.store import Store
from smartad.sweep import garbage, ledger
from smartad.sweep.state import jobs_of
from smartad.types import UserError


@dataclass(frozen=True)
class Forgotten:
    """What forgetting a sweep takes away."""

    name: str
    trials: int
    aliases: tuple[str, ...]
    """Those that the sweep itself gave."""
    freed: tuple[str, ...]
    """Stages that only it cites: the next clearing up removes them."""
    size: int
    """Bytes of these."""


def foreseen(store: Store, name: str) -> Forgotten:
    """What ``forget`` would take away.  ``name``: a sweep's name or its file.  Raises StoreError when there is no such sweep."""
    book = ledger.load(store, name)
    aliases = tuple(entry.alias for entry in registry.current(store) if garbage.said_by(entry, book.name))
    only_its = garbage.cited(store) - garbage.cited(store, without=book.name)
    freed = tuple(f for f in store.begun() if f in only_its)
    return Forgotten(book.name, len(book.trials), aliases, freed, sum(garbage.size(store.folder(f)) for f in freed))


def forget(store: Store, name: str) -> Forgotten:
    """Let go of a sweep.  Its ledger goes last: killed before that, it is still there to be forgotten.

    Raises UserError while it is driven, or has jobs in SLURM's queue, or that cannot be told.
    """
    found = foreseen(store, name)
    stages = set(ledger.load(store, name).stages())
    with store.lock(f"sweeps/{found.name}") as claim:
        jobs = jobs_of(store)
        if claim is None or found.name in jobs.drivers or stages & jobs.of.keys():
            raise UserError(f"{found.name} is being driven, or has jobs in the queue; stop it first: smartad cancel {found.name}")
        if jobs.problem:
            raise UserError(f"{jobs.problem}, so whether {found.name} has jobs in its queue is not known; try again when it does")
        for alias in found.aliases:
            registry.withdraw(store, alias, reason=f"{found.name} was forgotten", sweep=found.name)
        for path in _beside(store, found.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        ledger.path(store, found.name).unlink()
    return found


def foreseen_grade(store: Store, name: str) -> list[str]:
    """What ``forget_grade`` would remove, users before what they were made from.  ``name``: of a finished grade stage, or the
    beginning of it.

    Raises StoreError when there is none, UserError when an adapter was trained on what its verdicts chose.
    """
    doomed = [store.find(name)]
    finished = store.fingerprints()
    while more := [f for f in finished if f not in doomed and set(doomed).intersection(store.inputs(f))]:
        doomed += more
    chosen = any(f.startswith("select-") for f in doomed)  # what was trained on it half-way would be carried on with another
    trained = [f for f in store.begun() if f.startswith("train-") and (f in doomed or (chosen and not store.has(f)))]
    if trained:
        raise UserError(f"{doomed[0]} filtered a pool, and {trained[0]} was trained on what was left: that adapter is what it "
                        "is. To train on other verdicts, name another judge or another grader")
    return list(reversed(doomed))


def forget_grade(store: Store, fingerprint: str) -> list[str]:
    """Remove a finished grade stage and what was counted from it, so that the next run grades again; what a judge has said is
    kept apart, so it is asked only for what it did not say.  What was removed.

    Raises UserError while anybody is at work in the store.
    """
    doomed = foreseen_grade(store, fingerprint)
    with store.lock(garbage.GC) as claim:
        jobs = jobs_of(store)
        if claim is None or (obstacles := garbage.in_the_way(store, jobs)):
            why = "; ".join(obstacles) if claim else "somebody is clearing up"
            raise UserError(f"{why}, so nothing of {store.root} is removed now; run this again when that has changed")
        return [f for f in doomed if garbage.remove_stage(store, store.folder(f))]


def _beside(store: Store, name: str) -> list[Path]:
    """What else is kept of a sweep: its estimate, its study, the copies that its detached driver reads."""
    ours = ledger.path(store, name)
    longer = tuple(f"{other}." for other in ledger.names(store) if other.startswith(f"{name}."))
    return [path for path in sorted(ours.parent.iterdir())
            if path == ours.with_suffix("") or (path.name.startswith(f"{name}.") and not path.name.startswith(longer)
                                                and path != ours and path.suffix != ".lock")]
