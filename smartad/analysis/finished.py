"""What the records of a sweep's finished stages say, of each only what is added up: a large sweep has tens of thousands."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smartad.store import Store
from smartad.sweep.bill import Cost, cost_of
from smartad.sweep.ledger import Ledger


@dataclass(frozen=True)
class Finished:
    """One finished stage."""

    fingerprint: str
    stage: str
    started: float
    """Seconds since the epoch."""
    cost: Cost
    metrics: Mapping[str, float | None]
    where: str
    """JSON of the record's ``environment`` and ``ran``; stages that ran alike share it."""


def finished(store: Store, book: Ledger) -> list[Finished]:
    """Every finished stage of a sweep, each once however many rows share it, upstream first."""
    alike: dict[str, str] = {}
    found = []
    for fingerprint in book.stages():
        if store.has(fingerprint):
            record = store.record(fingerprint)
            where = json.dumps({"environment": record.get("environment") or {}, "ran": record.get("ran") or {}}, sort_keys=True)
            found.append(Finished(fingerprint, record["identity"]["stage"], record.get("started", 0.0), cost_of(record),
                                  record["metrics"], alike.setdefault(where, where)))
    return found


def environment(stages: list[Finished]) -> dict[str, list[str]]:
    """Where and with what they ran: fact -> every value it had, as people write it, sorted.  A fact that no record has is left
    out."""
    facts: dict[str, set[str]] = {}
    for where in {stage.where for stage in stages}:
        said = json.loads(where)
        for name, value in _facts(said["environment"], said["ran"]):
            facts.setdefault(name, set()).add(value)
    return {name: sorted(values) for name, values in facts.items()}


def _facts(environment: Mapping[str, Any], ran: Mapping[str, Any]) -> list[tuple[str, str]]:
    git = environment.get("git")
    commit = [("commit", f"{git['commit']}{' with uncommitted changes' if git['dirty'] else ''}")] if git else []
    plain = [(name, str(environment[name])) for name in ("smartad", "python", "platform", "host") if environment.get(name)]
    gpus = environment.get("gpus") or []
    devices = [("GPUs of a stage", f"{gpus.count(name)} × {name}") for name in sorted(set(gpus))] or [("GPUs of a stage", "none")]
    noted = [(name, str(value)) for name, values in ran.items() for value in (values if isinstance(values, list) else [values])]
    packages = [(name, version) for name, version in (environment.get("packages") or {}).items() if version]
    return [*commit, *plain, *devices, *noted, *packages]
