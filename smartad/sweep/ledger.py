"""What a sweep consists of, in the store: which trials, and which fingerprints each of them is made of.

``<store>/sweeps/<name>.jsonl`` is written before anything is submitted, so that status, table and pull need neither the
sweep file nor a plan.  Its first line is the sweep, every other a trial; the last line of a trial is what it is.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smartad.records import RecordError, append_jsonl, from_json, write_jsonl
from smartad.stage import StageSpec
from smartad.store import Store, StoreError, explained
from smartad.sweep.stopping import Stop


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
    needs: tuple[tuple[int, ...], ...]
    """For each of ``stages``, where in it its inputs stand."""

    def inputs(self) -> dict[str, tuple[str, ...]]:
        """Fingerprint -> those of its inputs."""
        return {f: tuple(self.stages[at] for at in needs) for f, needs in zip(self.stages, self.needs, strict=True)}


def run_of(seed: int, goal: StageSpec, train: StageSpec | None) -> Run:
    """The run that ends with ``goal`` and evaluates the adapter of ``train``."""
    specs = goal.upstream_first()
    at = {spec.fingerprint: number for number, spec in enumerate(specs)}
    needs = tuple(tuple(at[parent.fingerprint] for parent in spec.inputs.values()) for spec in specs)
    return Run(seed, goal.fingerprint, train.fingerprint if train else None, tuple(at), needs)


@dataclass(frozen=True)
class LedgerTrial:
    """One row."""

    label: str
    values: dict[str, Any]
    runs: tuple[Run, ...]
    stopped: Stop | None = None
    """Why it was stopped early; ``was_stopped`` knows whether it finished nevertheless."""

    def was_stopped(self, store: Store) -> bool:
        """Whether it was stopped before it was finished."""
        return self.stopped is not None and not all(store.has(run.goal) for run in self.runs)

    def score(self, store: Store, metric: str) -> float | None:
        """The mean over seeds of ``metric``; None until all are finished."""
        scores = [store.record(run.goal)["metrics"].get(metric) for run in self.runs if store.has(run.goal)]
        return None if len(scores) < len(self.runs) or None in scores else sum(scores) / len(scores)


@dataclass(frozen=True)
class Start:
    """How a sweep was started last.  It is no part of what the sweep is: started otherwise, it keeps its trials."""

    words: tuple[str, ...]
    """What was said to ``smartad``."""
    folder: str
    """Where: paths among the words may be relative to it."""
    cluster: str
    """What runs its stages: workers, local or slurm."""


@dataclass(frozen=True)
class Declared:
    """What all trials of a sweep have in common."""

    name: str
    config: dict[str, Any]
    groups: dict[str, Any]
    """Table groups: title -> benchmarks."""
    start: Start | None = field(default=None, kw_only=True)
    """None: not from the command line."""


@dataclass(frozen=True)
class Ledger(Declared):
    """One sweep."""

    trials: tuple[LedgerTrial, ...]

    def stages(self) -> list[str]:
        """Every fingerprint, each once."""
        return list(dict.fromkeys(f for t in self.trials for r in t.runs for f in r.stages))

    def inputs(self) -> dict[str, tuple[str, ...]]:
        """Fingerprint -> those of its inputs, of every stage."""
        return {f: inputs for t in self.trials for r in t.runs for f, inputs in r.inputs().items()}


def path(store: Store, name: str) -> Path:
    """Where the ledger of sweep ``name`` lies."""
    return store.root / "sweeps" / f"{name}.jsonl"


def save(store: Store, ledger: Ledger) -> None:
    """Write it whole."""
    head = Declared(ledger.name, ledger.config, ledger.groups, start=ledger.start)
    with explained(store.root):
        path(store, ledger.name).parent.mkdir(exist_ok=True)
        write_jsonl(path(store, ledger.name), [head, *ledger.trials])


def add(store: Store, name: str, trials: Iterable[LedgerTrial]) -> None:
    """Add ``trials`` to a ledger, or what has become of them.  A search of a thousand does not write a thousand each time."""
    with explained(store.root):
        append_jsonl(path(store, name), trials)


def names(store: Store) -> list[str]:
    """The sweeps of a store."""
    return sorted(p.stem for p in (store.root / "sweeps").glob("*.jsonl"))


def name_of(word: str) -> str:
    """The sweep that ``word``, its name or its file, means."""
    return Path(word).stem if word.endswith((".yaml", ".yml")) else word


def candidates(store: Store, word: str) -> list[str]:
    """The sweeps that ``word`` may mean: the one of that name or file, else those whose names begin so.

    A file means its sweeps with overrides, too, which are called after it: ``quickstart+1f2e3d``.
    """
    name = name_of(word)
    if path(store, name).exists():
        return [name]
    return [other for other in names(store) if other.startswith(name if name == word else f"{name}+")]


def load(store: Store, word: str) -> Ledger:
    """The ledger of the sweep that ``word`` means: its name, the beginning of it, or its file.

    Raises StoreError naming those there are when it means none or several.
    """
    found = candidates(store, word)
    if len(found) > 1:
        raise StoreError(f"{word!r} may mean each of {', '.join(found)} in {store.root}; say more of its name")
    if not found:
        raise StoreError(f"no sweep {name_of(word)!r} in {store.root}; there are {', '.join(names(store)) or 'none'}. A "
                         "declared one is there once `smartad sweep FILE` has begun it")
    file = path(store, found[0])
    # What follows the last newline is a line that a driver is writing, or did not get to finish.
    head, *lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    try:
        declared: Declared = from_json(Declared, json.loads(head))
        trials = {trial.label: trial for line in lines if (trial := from_json(LedgerTrial, json.loads(line)))}
    except (RecordError, ValueError) as error:
        raise StoreError(f"{file} cannot be read ({error}): an older smartad wrote it, or it is damaged.  Delete it and start "
                         "the sweep again; stages that are finished are kept") from error
    return Ledger(declared.name, declared.config, declared.groups, tuple(trials.values()), start=declared.start)
