"""What a sweep consists of, in the store: which trials, and which fingerprints each of them is made of.

``<store>/sweeps/<name>.json`` is written before anything is submitted, so that status, table and pull need neither the
sweep file nor a plan.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smartad.records import from_json, to_json
from smartad.store import Store, StoreError, explained, write_json


@dataclass(frozen=True)
class Run:
    """One trial with one seed."""

    seed: int
    goal: str
    """Fingerprint of the aggregate: the row."""
    train: str | None
    """Fingerprint of the adapter; None when the student is evaluated as it is."""
    stages: tuple[str, ...]
    """Fingerprints of everything it is made of, upstream first."""


@dataclass(frozen=True)
class LedgerTrial:
    """One row."""

    label: str
    values: dict[str, Any]
    runs: tuple[Run, ...]

    def score(self, store: Store, metric: str) -> float | None:
        """The mean over seeds of ``metric``; None until all are finished."""
        scores = [store.record(run.goal)["metrics"].get(metric) for run in self.runs if store.has(run.goal)]
        return None if len(scores) < len(self.runs) or None in scores else sum(scores) / len(scores)


@dataclass(frozen=True)
class Ledger:
    """One sweep."""

    name: str
    config: dict[str, Any]
    groups: dict[str, Any]
    """Table groups: title -> benchmarks."""
    trials: tuple[LedgerTrial, ...]

    def stages(self) -> list[str]:
        """Every fingerprint, each once."""
        return list(dict.fromkeys(f for t in self.trials for r in t.runs for f in r.stages))


def path(store: Store, name: str) -> Path:
    """Where the ledger of sweep ``name`` lies."""
    return store.root / "sweeps" / f"{name}.json"


def save(store: Store, ledger: Ledger) -> None:
    """Write it whole."""
    with explained(store.root):
        path(store, ledger.name).parent.mkdir(exist_ok=True)
        write_json(path(store, ledger.name), to_json(ledger))


def names(store: Store) -> list[str]:
    """The sweeps of a store."""
    return sorted(p.stem for p in (store.root / "sweeps").glob("*.json"))


def load(store: Store, name: str) -> Ledger:
    """The ledger of ``name``, a sweep's name or its file.  Raises StoreError naming the others when there is none."""
    stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    try:
        return from_json(Ledger, json.loads(path(store, stem).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise StoreError(f"no sweep {stem!r} in {store.root}; there are {', '.join(names(store)) or 'none'}") from error
