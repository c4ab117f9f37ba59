"""The bill: what finished stages took, and from that what missing ones will take.

Nothing is guessed: where no stage of a kind is on record, its cost is not known, which is not 0.  What was lost to stages that
failed or were cut off is on no record, and on no bill.
"""

import contextlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

from smartad.cluster import STAGES
from smartad.records import from_json, to_json, write_json
from smartad.stage import StageSpec
from smartad.store import Store, StoreError, explained
from smartad.sweep.ledger import Ledger

GENERATES = ("collect", "evaluate")
"""Stages in which a model writes: their tokens are those that an engine or a provider charges for."""
LOOK_AT = 200
"""Records of a kind that are looked at.  A fingerprint is a hash, so the first so many are a fair sample."""
RUNS_A_MODEL = ("collect", "score", "train", "evaluate")
"""Stages whose cost is their model's: that of another model says nothing about it."""
LIKE, OTHER_QUESTIONS, OTHERS, NOTHING = range(4)
"""What an estimate rests on, the best first."""
BASES = ("their like", "other questions", "others of their kind", "nothing recorded")


@dataclass(frozen=True)
class Cost:
    """What a stage, or several, took.  None: not known."""

    seconds: float | None
    """By the clock, one after the other."""
    gpu_hours: float | None
    cpu_hours: float | None
    """Hours times cores that were allotted."""
    tokens: float | None
    """That a model generated."""
    judge_calls: float | None
    gigabytes: float | None
    """On disk, 1e9 bytes."""


UNKNOWN = Cost(*[None] * len(fields(Cost)))


@dataclass(frozen=True)
class Line:
    """Stages of one kind whose cost is known in the same way."""

    stage: str
    fingerprints: tuple[str, ...]
    cost: Cost
    """Of all of them."""
    basis: str
    """What the estimate rests on."""


@dataclass(frozen=True)
class Bill:
    """What was expected when a sweep was started."""

    time: float
    lines: tuple[Line, ...]


def cost_of(record: Mapping[str, Any]) -> Cost:
    """What a finished stage took, from its record."""
    stage, metrics = record["identity"]["stage"], record["metrics"]
    seconds = record.get("seconds")
    allotted = record.get("allotted") or {}
    gpus = allotted.get("gpus", len(record.get("environment", {}).get("gpus") or []))
    hours = None if seconds is None else seconds / 3600
    return Cost(seconds, hours and hours * gpus, hours and hours * allotted.get("threads", 1),
                metrics.get("tokens") if stage in GENERATES else 0.0,
                metrics.get("judge_calls") if _judged(record["identity"]) else 0.0,
                sum(file["size"] for file in record["files"].values()) / 1e9)


def _judged(identity: Mapping[str, Any]) -> bool:
    return identity["stage"] == "grade" and "judge" in identity["config"]


def total(costs: Iterable[Cost]) -> Cost:
    """The sum; what is not known of one is not known of the sum."""
    columns = list(zip(*(astuple(cost) for cost in costs), strict=True)) or [(0.0,)] * len(fields(Cost))
    return Cost(*(None if None in column else sum(column) for column in columns))


def estimate(store: Store, specs: Sequence[StageSpec]) -> list[Line]:
    """What those of ``specs`` that are missing will take, in the order of the pipeline, the surest first.

    From finished stages of the same kind in this store, per question where the numbers are known: with the same model and
    benchmarks where there are any, else with the same model, else any; but where a model runs, only with the same model.
    """
    missing = [spec for spec in specs if not store.has(spec.fingerprint)]
    history = _History(store, specs, {spec.stage.name for spec in missing})
    groups: dict[tuple[str, int, str], list[tuple[str, Cost]]] = defaultdict(list)
    for spec in missing:
        level, basis, cost = history.estimate(spec.identity)
        groups[spec.stage.name, level, basis].append((spec.fingerprint, cost))
    order = sorted(groups, key=lambda group: (STAGES.index(group[0]) if group[0] in STAGES else len(STAGES), *group[1:]))
    return [Line(stage, tuple(f for f, _ in groups[stage, level, basis]), total(c for _, c in groups[stage, level, basis]), basis)
            for stage, level, basis in order]


class _History:
    """Finished stages, and how large they were."""

    def __init__(self, store: Store, specs: Iterable[StageSpec], kinds: set[str]) -> None:
        self.store = store
        self.records: dict[str, dict[str, Any]] = {}
        self.identities: dict[str, Mapping[str, Any]] = {spec.fingerprint: spec.identity for spec in specs}
        self.sizes: dict[str, float | None] = {}
        self.precedents: dict[tuple[Any, ...], tuple[int, int, Cost, list[Any]]] = {}
        self.known: dict[str, list[tuple[Any, Any, Cost, float | None]]] = defaultdict(list)
        """Kind -> model, questions, cost and size of each."""
        names = sorted(os.listdir(store.root)) if kinds and store.root.is_dir() else []
        for kind in kinds:
            for fingerprint in islice((f for f in names if f.rpartition("-")[0] == kind and store.has(f)), LOOK_AT):
                with contextlib.suppress(StoreError):  # a damaged record of another sweep stops nobody here
                    record = self._record(fingerprint)
                    self.known[kind].append((*_traits(record["identity"]), cost_of(record), self._size(fingerprint)))

    def estimate(self, identity: Mapping[str, Any]) -> tuple[int, str, Cost]:
        """How sure, of what, and how much one stage will take."""
        key = (identity["stage"], *_traits(identity))
        if key not in self.precedents:
            self.precedents[key] = self._precedent(*key)
        level, count, cost, sizes = self.precedents[key]
        if level == NOTHING:
            return level, BASES[level], UNKNOWN
        size = self._size_of(identity)
        by_size = size is not None and None not in sizes and sum(sizes) > 0
        share, scaled = (size / sum(sizes), set(sizes) != {size}) if by_size else (1 / count, False)
        known = (None if value is None else value * share for value in astuple(cost))
        return level, BASES[level] + (", per question" if scaled else ""), Cost(*known)

    def _precedent(self, stage: str, model: Any, questions: Any) -> tuple[int, int, Cost, list[Any]]:
        """The finished stages nearest to one: how near, how many, what all of them took, and the size of each."""
        every = self.known[stage]
        asks = stage in RUNS_A_MODEL or (stage == "grade" and model[0][1])
        others = [k for k in every if not asks or k[0][0] == model[0]]
        levels = ([k for k in every if k[:2] == (model, questions)], [k for k in every if k[0] == model], others)
        level, of = next(((level, of) for level, of in enumerate(levels) if of), (NOTHING, []))
        return level, len(of), total(k[2] for k in of), [k[3] for k in of]

    def _record(self, fingerprint: str) -> dict[str, Any]:
        if fingerprint not in self.records:
            self.records[fingerprint] = self.store.record(fingerprint)
        return self.records[fingerprint]

    def _identity(self, fingerprint: str) -> Mapping[str, Any] | None:
        if fingerprint not in self.identities and self.store.has(fingerprint):
            self.identities[fingerprint] = self._record(fingerprint)["identity"]
        return self.identities.get(fingerprint)

    def _size(self, fingerprint: str) -> float | None:
        """Questions times how often each is answered, scored or trained on; None when it cannot be known yet."""
        if fingerprint not in self.sizes:
            identity = self._identity(fingerprint)
            self.sizes[fingerprint] = identity and self._size_of(identity, fingerprint)  # type: ignore[assignment]
        return self.sizes[fingerprint]

    def _asked(self, fingerprint: str) -> float | None:
        """Questions of what prepared or imported them."""
        if fingerprint.startswith("import-") and self.store.has(fingerprint):
            count: float = self._record(fingerprint)["metrics"]["questions"]
            return count
        return self._size(fingerprint)

    def _size_of(self, identity: Mapping[str, Any], fingerprint: str = "") -> float | None:
        stage, config, inputs = identity["stage"], identity["config"], identity["inputs"]
        if stage == "prepare":
            done = fingerprint and self.store.has(fingerprint)
            return self._record(fingerprint)["metrics"].get("questions") if done else config.get("limit")
        if stage == "import":
            return self._record(fingerprint)["metrics"].get("n") if fingerprint and self.store.has(fingerprint) else None
        if stage in ("grade", "score", "select"):
            return self._size(inputs["attempts" if stage == "grade" else "pool"])
        times = {"collect": "samples", "evaluate": "samples", "train": "epochs"}.get(stage, "")
        questions = [self._asked(f) for role, f in inputs.items() if role.startswith("questions/")]
        if not questions or None in questions:
            return None
        return sum(q or 0 for q in questions) * (config.get(times) or 1)


def _traits(identity: Mapping[str, Any]) -> tuple[Any, Any]:
    """(model and how it is asked, questions): what two stages of a kind must share to take about the same."""
    config, inputs = identity["config"], identity["inputs"]
    model = next((config[key] for key in ("student", "teacher", "corpus", "benchmark") if key in config), None)
    if identity["stage"] == "grade":  # which model a judge is changes no count of calls; how many of them there are does
        model = (tuple(sorted(set(config.get("graders", {}).values()))), sum(k in config for k in ("judge", "second_judge")))
    asked = tuple(config.get(key) for key in ("agent", "candidates"))
    return (model, *asked), tuple(sorted(role for role in inputs if role.startswith("questions/")))


def path(store: Store, name: str) -> Path:
    """Where the expected bill of sweep ``name`` lies."""
    return store.root / "sweeps" / f"{name}.bill.json"


def save_estimate(store: Store, name: str, specs: Sequence[StageSpec]) -> Bill:
    """Keep what a sweep is expected to take.  What was expected at an earlier start stays: the real bill is held against it."""
    earlier = saved(store, name)
    foreseen = {f for line in earlier.lines for f in line.fingerprints} if earlier else set()
    lines = estimate(store, [spec for spec in specs if spec.fingerprint not in foreseen])
    bill = Bill(earlier.time if earlier else time.time(), (*(earlier.lines if earlier else ()), *lines))
    if lines:
        with explained(store.root):
            path(store, name).parent.mkdir(exist_ok=True)
            write_json(path(store, name), to_json(bill))
    return bill


def saved(store: Store, name: str) -> Bill | None:
    """What sweep ``name`` was expected to take; None when nobody estimated it."""
    try:
        return from_json(Bill, json.loads(path(store, name).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class Compared:
    """Expected and real, of stages of one kind."""

    stage: str
    stages: int
    finished: int
    expected: Cost | None
    """None: nobody expected them; a search has proposed them later."""
    real: Cost
    """Of those that are finished; not known while there are none."""


def compare(store: Store, book: Ledger, bill: Bill) -> list[Compared]:
    """The real bill of a sweep beside the expected one, by kind of stage, and what nobody expected at the end."""
    expected: dict[str, list[Line]] = defaultdict(list)
    for line in bill.lines:
        expected[line.stage].append(line)
    rows = []
    for stage, lines in expected.items():
        stages = [f for line in lines for f in line.fingerprints]
        finished = [cost_of(store.record(f)) for f in stages if store.has(f)]
        rows.append(Compared(stage, len(stages), len(finished), total(line.cost for line in lines),
                             total(finished) if finished else UNKNOWN))
    foreseen = {f for line in bill.lines for f in line.fingerprints}
    later = [record for f in book.stages() if f not in foreseen and store.has(f)
             and (record := store.record(f)).get("started", 0.0) > bill.time]
    if later:
        rows.append(Compared("proposed later", len(later), len(later), None, total(cost_of(record) for record in later)))
    return rows
