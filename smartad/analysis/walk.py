"""From a cell of a table to everything it was made of, down to the question."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from smartad.analysis.arms import Spot, is_grade
from smartad.analysis.facts import MADE, facts
from smartad.analysis.outcomes import attempts_of, grade_of, questions_of
from smartad.records import RecordError, read_jsonl
from smartad.stages.aggregate import SECOND
from smartad.stages.grade import cell as counted
from smartad.store import LOG, Store, StoreError, fault
from smartad.sweep import results
from smartad.sweep.ledger import Run
from smartad.types import Cell, Question, Trajectory, Verdict

LARGE_BYTES = 2**30
"""Of a larger file only the size is looked at: an index of Wikipedia would be read for minutes."""
ORDER = ("attempts", "adapter", "selected", "verdicts", "scores", "pool")
"""Inputs in the order in which they are told; questions and passages come after them."""


@dataclass(frozen=True)
class Made:
    """Where and when a stage ran."""

    commit: str | None
    """None: not from a git checkout."""
    dirty: bool
    """With changes that are in no commit."""
    host: str
    started: float
    """Seconds since the epoch."""
    seconds: float


@dataclass(frozen=True)
class Station:
    """One stage on the way."""

    what: str
    """What it makes: verdicts, attempts, adapter, ..."""
    fingerprint: str
    folder: str
    state: Literal["done", "running", "failed", "missing"]
    facts: Mapping[str, str]
    files: Mapping[str, int]
    """Path -> bytes."""
    made: Made | None
    """None: it is not finished."""
    wrong: tuple[str, ...]
    """What is damaged; of one that is not finished, why."""
    made_of: tuple["Station", ...] = ()
    again: bool = False
    """It stands further up with all it is made of."""


@dataclass(frozen=True)
class Walk:
    """A cell and what is behind it."""

    name: str
    cell: Cell | None
    """None: it is not graded yet, and what is below is as far as it came; or its files are damaged."""
    seeds: Mapping[str, Cell | None]
    """The same cell of the row's other seeds, by name."""
    wrong: tuple[str, ...]
    """What does not fit together."""
    row: Station
    top: Station | None
    """The verdicts; None when nothing of the cell is known but the row that it is to be in."""

    def stations(self) -> Iterator[Station]:
        """Each once, from the verdicts down."""
        waiting = [self.top] if self.top else []
        while waiting:
            station = waiting.pop(0)
            if not station.again:
                yield station
            waiting = [*station.made_of, *waiting]


@dataclass(frozen=True)
class Answered:
    """One attempt at one question, and what was said of it."""

    question: Question
    attempt: Trajectory
    verdict: Verdict


def walk(store: Store, spot: Spot, grader: str | None = None) -> Walk:
    """Everything behind ``spot``.  ``grader``: as that one has graded, instead of the one that counts.

    Raises StoreError when ``grader`` has not graded it.
    """
    grade = _grade(store, spot.run, spot.benchmark, grader)
    if grader and grade is None:
        raise StoreError(f"{spot.name} is not finished, and {grader} has not graded it yet")
    wrong: list[str] = []
    cell = _cell(store, spot, grader, wrong)
    known: dict[str, Station] = {}
    top = _station(store, grade, spot.run.inputs(), known) if grade else None
    others = [dataclasses.replace(spot, run=run) for run in spot.arm.trial.runs if run.seed != spot.run.seed]
    seeds = {other.name: _cell(store, other, grader, wrong) for other in others}
    row = _station(store, spot.run.goal, {}, {})
    return Walk(spot.name, cell, seeds, (*wrong, *_unlike(store, spot.benchmark, cell)), row, top)


def grader_of(store: Store, word: str) -> str | None:
    """Whose verdicts ``word`` means, where it is the fingerprint of a grade stage; None of other names of a cell."""
    return _graders(store, store.find(word))[0] if is_grade(word) else None


def answered(store: Store, grade: str) -> list[Answered]:
    """Every attempt that a finished grade stage has decided on, in its order."""
    folder = store.folder(attempts_of(store, grade))
    questions = questions_of(store, grade)
    attempts = {(a.question_id, a.sample): a for a in read_jsonl(folder / "trajectories.jsonl", Trajectory)}
    try:
        return [Answered(questions[v.question_id], attempts[v.question_id, v.sample], v)
                for v in read_jsonl(store.folder(grade) / "verdicts.jsonl", Verdict)]
    except KeyError as error:
        raise StoreError(f"{grade} has a verdict of {error}, of which there is no question or no attempt: files are damaged, and "
                         f"`smartad walk {grade}` says which") from error


def of_question(found: Sequence[Answered], word: str) -> list[Answered]:
    """The attempts at the question that ``word`` means: its id, or what follows the / in it.

    Raises StoreError naming some that there are when it means none.
    """
    chosen = [one for one in found if word in (one.question.id, one.question.id.partition("/")[2])]
    if not chosen:
        ids = list(dict.fromkeys(one.question.id for one in found))
        raise StoreError(f"no question {word!r} behind this cell; there are {len(ids)}: {', '.join(ids[:3])}, ...")
    return chosen


def _grade(store: Store, run: Run, benchmark: str, grader: str | None) -> str | None:
    """The grade stage of the cell, finished or not, as far as it can be told: an unfinished one by the questions it is of."""
    if store.has(run.goal):
        inputs = store.record(run.goal)["identity"]["inputs"]
        if grader and f"{benchmark}{SECOND}{grader}" not in inputs and not _grades(store, inputs[benchmark], grader):
            by = [role.partition(SECOND)[2] for role in inputs if role.startswith(f"{benchmark}{SECOND}")]
            first = ", ".join(_graders(store, inputs[benchmark]))
            raise StoreError(f"{benchmark} of {run.goal} is graded by {', '.join([first, *by])}, not by {grader}")
        return grade_of(store, run, benchmark, grader)
    made_of = run.inputs()
    there = (stage for stage in made_of.get(run.goal, ()) for parent in made_of[stage]
             if parent.startswith("prepare-") and store.has(parent)
             and store.record(parent)["identity"]["config"]["benchmark"] == benchmark)
    return next((stage for stage in there if grader is None or _grades(store, stage, grader)), None)


def _graders(store: Store, grade: str) -> list[str]:
    return sorted({by.partition("/")[0] for by in store.record(grade)["identity"]["config"]["graders"].values()})


def _grades(store: Store, grade: str, grader: str) -> bool:
    return store.has(grade) and grader in _graders(store, grade)


def _cell(store: Store, spot: Spot, grader: str | None, wrong: list[str]) -> Cell | None:
    """As the table has it, which shows what is graded of an unfinished row; adds to ``wrong`` why it cannot be read."""
    run = spot.run
    try:
        if not store.has(run.goal):
            grade = None if spot.arm.trial.was_stopped(store) else _grade(store, run, spot.benchmark, grader)
            return results.graded(store, grade) if grade and store.has(grade) else None
        source = grade_of(store, run, spot.benchmark, grader)
        return next((cell for name in ("cells.jsonl", "other_cells.jsonl")
                     for cell in read_jsonl(store.folder(run.goal) / name, Cell) if cell.source == source), None)
    except RecordError as error:
        wrong.append(str(error))
        return None


def _unlike(store: Store, benchmark: str, cell: Cell | None) -> Iterator[str]:
    """Where the cell is not what its verdicts come to."""
    if cell is None or not store.has(cell.source):
        return
    path = store.folder(cell.source) / "verdicts.jsonl"
    try:
        found = counted(benchmark, list(read_jsonl(path, Verdict)), cell.source)
    except RecordError as error:
        yield str(error)
        return
    if (found.correct, found.n, found.ungraded) != (cell.correct, cell.n, cell.ungraded):
        yield (f"it says {cell.correct} of {cell.n} right and {cell.ungraded} ungraded, and {path} comes to {found.correct} "
               f"of {found.n} and {found.ungraded}")


def _station(store: Store, fingerprint: str, planned: Mapping[str, Sequence[str]], known: dict[str, Station]) -> Station:
    """``planned``: fingerprint -> those of its inputs, of stages that are not finished."""
    folder = store.folder(fingerprint)
    what = MADE[fingerprint.rpartition("-")[0]]
    if fingerprint in known:
        return dataclasses.replace(known[fingerprint], made_of=(), again=True)
    if not store.has(fingerprint):
        state, why = _unfinished(store, fingerprint)
        below = tuple(_station(store, parent, planned, known) for parent in planned.get(fingerprint, ()))
        known[fingerprint] = Station(what, fingerprint, str(folder), state, {}, {}, None, why, below)
        return known[fingerprint]
    record = store.record(fingerprint)
    inputs = record["identity"]["inputs"] if record["identity"]["stage"] != "aggregate" else {}
    below = tuple(_station(store, inputs[role], planned, known) for role in sorted(inputs, key=_place))
    files = {str(folder / name): int(file["size"]) for name, file in record["files"].items()}
    known[fingerprint] = Station(what, fingerprint, str(folder), "done", _facts(record, folder), files, _made(record),
                                 tuple(_damage(folder, record["files"])), below)
    return known[fingerprint]


def _facts(record: Mapping[str, Any], folder: Path) -> Mapping[str, str]:
    """None of a stage whose files cannot be read: what is damaged is said beside them."""
    try:
        return facts(record, folder)
    except RecordError:
        return {}


def _place(role: str) -> tuple[int, str]:
    return (ORDER.index(role) if role in ORDER else len(ORDER)), role


def _unfinished(store: Store, fingerprint: str) -> tuple[Literal["running", "failed", "missing"], tuple[str, ...]]:
    if failure := store.failure(fingerprint):
        log = store.folder(fingerprint) / LOG
        return "failed", (f"failed ({failure['class']}): {failure['message']}", *([f"log {log}"] if log.exists() else []))
    if who := store.worker(fingerprint):
        return "running", (f"process {who.get('pid', '?')} on {who.get('host', '?')} is at it",)
    begun = "begun, and nobody is at it" if store.folder(fingerprint).exists() else "not begun, or no longer there"
    return "missing", (begun,)


def _made(record: Mapping[str, Any]) -> Made:
    environment = record["environment"]
    git = environment.get("git") or {}
    return Made(git.get("commit"), bool(git.get("dirty")), str(environment.get("host", "")), record["started"], record["seconds"])


def _damage(folder: Path, files: Mapping[str, Any]) -> Iterator[str]:
    for name, recorded in files.items():
        path = folder / name
        if recorded["size"] > LARGE_BYTES and path.is_file() and path.stat().st_size == recorded["size"]:
            continue
        if wrong := fault(path, recorded):
            yield wrong
