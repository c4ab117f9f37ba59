"""Letting go of a sweep: its ledger and what lies beside it, and the aliases that it gave."""

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


def _beside(store: Store, name: str) -> list[Path]:
    """What else is kept of a sweep: its estimate, its study, the copies that its detached driver reads."""
    ours = ledger.path(store, name)
    longer = tuple(f"{other}." for other in ledger.names(store) if other.startswith(f"{name}."))
    return [path for path in sorted(ours.parent.iterdir())
            if path == ours.with_suffix("") or (path.name.startswith(f"{name}.") and not path.name.startswith(longer)
                                                and path != ours and path.suffix != ".lock")]
