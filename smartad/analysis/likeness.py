"""A cell that was made again, beside the recorded one: verdict by verdict, trajectory by trajectory."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from smartad import stats
from smartad.analysis.arms import Spot
from smartad.analysis.outcomes import grade_of
from smartad.records import read_jsonl
from smartad.stages.grade import cell
from smartad.stats import ALPHA
from smartad.store import Store
from smartad.types import Cell, Trajectory, Verdict

T = TypeVar("T", Verdict, Trajectory)
Key = tuple[str, int]
"""(question id, sample)."""
REPEATABLE = ("scripted", "transformers in this process")
"""Engines that say the same again on a CPU; of others, and on GPUs, the first answer is only one of those they might give."""


@dataclass(frozen=True)
class Differing(Generic[T]):
    """Rows of a file that are not the same in both stores."""

    of: int
    """Rows on record."""
    pairs: tuple[tuple[T | None, T | None], ...]
    """(recorded, made again); None where there is none of that question and sample."""


@dataclass(frozen=True)
class Likeness:
    """What came of making a cell again."""

    recorded: Cell
    again: Cell
    verdicts: Differing[Verdict]
    attempts: Differing[Trajectory]
    pool: Differing[Trajectory] | None
    """None: nothing was trained on."""
    same_adapter: bool | None
    """Byte by byte; None: there is none."""
    repeatable: bool
    """Whether every engine that had a part in it, here and there, says the same again."""
    p: float
    """Of verdicts that parted as unevenly as these or more so, if both were draws of the same model: McNemar's exact test."""
    environment: tuple[str, ...]
    """Where the two were made in different places or with different packages."""

    @property
    def same(self) -> bool:
        """Whether it is the same cell: every verdict."""
        return not self.verdicts.pairs

    @property
    def lost(self) -> int:
        """Attempts with a verdict in one of the two alone: no draw of a model makes that."""
        return sum(a is None or b is None or (a.correct is None) != (b.correct is None) for a, b in self.verdicts.pairs)

    @property
    def explained(self) -> bool:
        """Whether its engines may have made the difference: they do not say the same twice, and chance does that."""
        return self.same or (not self.repeatable and not self.lost and self.p >= ALPHA)


def likeness(store: Store, spot: Spot, other: Store, grader: str | None = None) -> Likeness:
    """``spot`` of ``store`` beside the same stages of ``other``.  Both are finished.

    What took how long is not compared, and neither is how a verdict words its reason.
    """
    grade = grade_of(store, spot.run, spot.benchmark, grader)
    assert grade is not None, "a finished run has its cells"
    inputs = store.record(grade)["identity"]["inputs"]
    pools = [stage for stage in spot.run.stages if stage.startswith(("collect-", "import-"))]
    then, now = (list(read_jsonl(where.folder(grade) / "verdicts.jsonl", Verdict)) for where in (store, other))
    bare = [[dataclasses.replace(verdict, reason="") for verdict in found] for found in (then, now)]
    return Likeness(
        cell(spot.benchmark, then, grade), cell(spot.benchmark, now, grade), _differing(*bare),
        _trajectories(store, other, inputs["attempts"]), _trajectories(store, other, pools[0]) if pools else None,
        _same_files(store, other, spot.run.train, "adapter/") if spot.run.train else None,
        _repeatable(store, spot.run.stages) and _repeatable(other, spot.run.stages), _mcnemar(then, now),
        tuple(_environments(store, other, inputs["attempts"])))


def _trajectories(store: Store, other: Store, stage: str) -> Differing[Trajectory]:
    return _differing(*([dataclasses.replace(t, seconds=None) for t in read_jsonl(where.folder(stage) / "trajectories.jsonl",
                                                                                  Trajectory)] for where in (store, other)))


def _differing(recorded: Sequence[T], again: Sequence[T]) -> Differing[T]:
    then: dict[Key, T] = {(row.question_id, row.sample): row for row in recorded}
    now: dict[Key, T] = {(row.question_id, row.sample): row for row in again}
    pairs = [(then.get(key), now.get(key)) for key in dict.fromkeys([*then, *now])]
    return Differing(len(then), tuple((a, b) for a, b in pairs if a != b))


def _mcnemar(recorded: Sequence[Verdict], again: Sequence[Verdict]) -> float:
    then = {(v.question_id, v.sample): v.correct for v in recorded}
    pairs = [(then.get((v.question_id, v.sample)), v.correct) for v in again]
    return stats.mcnemar(pairs.count((True, False)), pairs.count((False, True)))


def _same_files(store: Store, other: Store, stage: str, below: str) -> bool:
    one, two = ({name: file["sha256"] for name, file in where.record(stage)["files"].items() if name.startswith(below)}
                for where in (store, other))
    return one == two


def _repeatable(store: Store, stages: Sequence[str]) -> bool:
    """Whether no GPU and no server had a part in it, as far as is on record."""
    for stage in stages:
        record = store.record(stage)
        ran: dict[str, Any] = record.get("ran", {})
        if record["environment"].get("gpus") or ran.get("judge") or ran.get("engine", REPEATABLE[0]) not in REPEATABLE:
            return False
    return True


def _environments(store: Store, other: Store, stage: str) -> list[str]:
    one, two = (_flat(where.record(stage)["environment"]) for where in (store, other))
    return [f"{name}: {one.get(name)} -> {two.get(name)}" for name in sorted(one.keys() | two.keys())
            if one.get(name) != two.get(name)]


def _flat(environment: dict[str, Any]) -> dict[str, Any]:
    git = environment.get("git") or {}
    return {"commit": git.get("commit"), "uncommitted changes": git.get("dirty"), "gpus": environment.get("gpus"),
            **{name: environment.get(name) for name in ("python", "platform", "cpus", "smartad")},
            **environment.get("packages", {})}


def fresh(store: Store, goal: str) -> Path:
    """A folder beside the store that is not there yet."""
    beside = store.root.parent / f"{store.root.name}-again-{goal.rpartition('-')[2]}"
    at = 1
    while (found := beside if at == 1 else beside.with_name(f"{beside.name}-{at}")).exists():
        at += 1
    return found
