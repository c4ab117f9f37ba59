"""The trajectories of a report as its viewer reads them: JSON, packed."""

import base64
import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smartad import dialect
from smartad.records import from_json, read_jsonl
from smartad.redact import redact
from smartad.report import choosing
from smartad.report.choosing import Key, Source
from smartad.store import Store
from smartad.sweep.ledger import Ledger, LedgerTrial
from smartad.types import Question, ScoredTrajectory, Selected, Trajectory

LARGEST = 12_000_000
"""Characters of what is packed at most, so that the whole page stays below 20 MB."""
WORDS = {True: "right", False: "wrong", None: "ungraded"}
NOT_YET = "not graded yet"


@dataclass(frozen=True)
class Packed:
    """What goes into the page."""

    data: str
    """Base64 of gzipped JSON."""
    held: int
    """Trajectories inside."""
    seen: int
    """That they were chosen from."""
    stages: int
    """Whose those are: evaluations and pools."""
    evaluations_seen: int
    """Of ``stages``, the evaluations."""
    evaluations: int
    """Of the sweep, finished, looked at or not."""


@dataclass(frozen=True)
class Difficulty:
    """What the untrained student finds of one trajectory of a pool."""

    student: str
    turn_nll: tuple[float, ...]
    """Nats per token."""
    rank: int
    """Among the scored trajectories of its question, 1 the easiest."""
    of: int


def pack(store: Store, book: Ledger, baseline: LedgerTrial | None, averages: Mapping[str, float | None], most: int,
         tell: Callable[[str], None]) -> Packed:
    """At most ``most`` trajectories of a sweep.  ``tell`` hears how far it is."""
    found = choosing.sources(store, book, baseline, averages)
    tell(f"reading the verdicts of {len(found)} stages")
    keys = {source.stage: _keys(store, source) for source in found}
    changed = choosing.flips(book, baseline, found)
    flipped = _with_the_baseline(book, baseline, found, changed)
    chosen = choosing.choose(found, keys, flipped, most)
    tell(f"reading {len(chosen)} of {sum(map(len, keys.values()))} trajectories")
    rows = _rows(store, book, found, chosen, changed)
    questions = _questions(store, found, {key[0] for _, key in chosen})
    head = redact({"rows": [trial.label for trial in book.trials], "baseline": baseline.label if baseline else None})
    held = [rows[one] for one in chosen]
    order = {question: number for number, question in enumerate(questions)}

    def place(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return row["pool"], order[row["question"]], row["places"], row["sample"]

    def packed() -> str:
        asked = {row["question"]: questions[row["question"]] for row in held}
        return _packed({**head, "questions": asked, "trajectories": sorted(held, key=place)})

    while len(data := packed()) > LARGEST and held:
        held = held[:len(held) * LARGEST * 9 // (len(data) * 10)]  # the least wanted are last
    evaluations = sum(store.has(f) for f in book.stages() if f.startswith("evaluate-"))
    return Packed(data, len(held), sum(map(len, keys.values())), len(found),
                  sum(source.benchmark is not None for source in found), evaluations)


def _packed(content: Mapping[str, Any]) -> str:
    """Packed it is a quarter, and nothing that a trajectory says can be taken for markup: Base64 has no <."""
    # ASCII: JSON then holds even what is no character, such as half a surrogate pair.
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("ascii"), 9, mtime=0)).decode("ascii")


def _keys(store: Store, source: Source) -> list[Key]:
    if source.verdicts:
        return list(source.counts)
    return [(row["question_id"], row["sample"]) for row in _lines(store, source.stage)]


def _lines(store: Store, stage: str) -> Any:
    with store.text(stage, "trajectories.jsonl") as file:
        yield from map(json.loads, file)


def _with_the_baseline(book: Ledger, baseline: LedgerTrial | None, found: Sequence[Source],
                       changed: Mapping[tuple[str, int, int], Mapping[Key, str]]) -> dict[str, set[Key]]:
    """Stage -> the attempts that flipped; the baseline's own at the same questions are to be seen beside them."""
    flipped: dict[str, set[Key]] = defaultdict(set)
    of_benchmark: dict[str | None, set[Key]] = defaultdict(set)
    for source in found:
        for place in source.places:
            flipped[source.stage] |= changed.get((source.stage, place.row, place.run.seed), {}).keys()
        of_benchmark[source.benchmark] |= flipped[source.stage]
    for source in found:
        if any(book.trials[place.row] is baseline for place in source.places):
            flipped[source.stage] |= of_benchmark[source.benchmark]
    return flipped


def _questions(store: Store, found: Sequence[Source], wanted: set[str]) -> dict[str, dict[str, Any]]:
    folders = dict.fromkeys(f for source in found for role, f in store.record(source.stage)["identity"]["inputs"].items()
                            if role.startswith("questions/"))
    folders |= dict.fromkeys(source.stage for source in found if source.stage.startswith("import-"))
    return {q.id: redact({"text": q.text, "gold": list(q.answers), "level": q.level, "subject": q.subject})
            for f in folders for q in read_jsonl(store.folder(f) / "questions.jsonl", Question) if q.id in wanted}


def _rows(store: Store, book: Ledger, found: Sequence[Source], chosen: Sequence[tuple[str, Key]],
          changed: Mapping[tuple[str, int, int], Mapping[Key, str]]) -> dict[tuple[str, Key], dict[str, Any]]:
    """(stage, key) -> what the viewer shows of it."""
    wanted: dict[str, set[Key]] = defaultdict(set)
    for stage, key in chosen:
        wanted[stage].add(key)
    rows = {}
    for source in found:
        record = store.record(source.stage)["identity"]
        form = dialect.DIALECTS[record["config"].get("dialect") or "paper"]
        pool = _pool(store, book, source) if source.benchmark is None else {}
        of_pool = [[place.row, place.run.seed, ""] for place in source.places]  # once, as it may be a thousand rows
        for line in _lines(store, source.stage) if wanted[source.stage] else ():
            key = (line["question_id"], line["sample"])
            if key in wanted[source.stage]:
                places = of_pool if source.benchmark is None else [
                    [place.row, place.run.seed, changed.get((source.stage, place.row, place.run.seed), {}).get(key, "")]
                    for place in source.places]
                rows[source.stage, key] = {"places": places} | redact({
                    "id": f"{source.stage}/{key[0]}/{key[1]}", "pool": source.benchmark is None,
                    "set": source.benchmark or key[0].partition("/")[0], "question": key[0], "sample": key[1],
                    "verdicts": _verdicts(source, key), **_episode(from_json(Trajectory, line), form), **pool.get(key, {})})
    return rows


def _verdicts(source: Source, key: Key) -> list[dict[str, str]]:
    """The first is the one that counts."""
    said = [of[key] for of in source.verdicts if key in of]
    return [{"says": WORDS[one.correct], "by": one.by, "why": one.reason} for one in said] or \
        [{"says": NOT_YET, "by": "", "why": ""}]


def _episode(trajectory: Trajectory, form: dialect.Dialect) -> dict[str, Any]:
    """What happened.  Steps are pieces with their segments: JavaScript counts other characters than Python."""
    cuts = dialect.segments(trajectory.steps, form)
    steps = [{"status": step.status, "pieces": [[int(segment), step.text[start:end]] for start, end, segment in turn],
              "seen": step.observation} for step, turn in zip(trajectory.steps, cuts, strict=True)]
    return {"answer": trajectory.answer, "stop": trajectory.stop, "why": trajectory.reason, "tokens": trajectory.tokens,
            "seconds": trajectory.seconds, "passages": trajectory.passages, "first": trajectory.first_thought, "steps": steps}


def _pool(store: Store, book: Ledger, source: Source) -> dict[Key, dict[str, Any]]:
    """Of each trajectory of a pool: how hard it is for whom, and which rows train on it."""
    about: dict[Key, dict[str, Any]] = defaultdict(lambda: {"nll": [], "selected": []})
    users: dict[str, dict[int, None]] = defaultdict(dict)
    for place in source.places:
        for stage in place.run.stages:
            if stage.rpartition("-")[0] in ("score", "select") and store.has(stage):
                users[stage][place.row] = None
    for stage, rows in users.items():
        identity = store.record(stage)["identity"]
        if identity["inputs"]["pool"] != source.stage:
            continue
        if stage.startswith("select-"):
            for chosen in read_jsonl(store.folder(stage) / "selected.jsonl", Selected):
                about[chosen.question_id, chosen.sample]["selected"] += rows
        else:
            for key, hard in _difficulty(store, stage, identity["config"]["student"]).items():
                about[key]["nll"].append(vars(hard))
    for of_one in about.values():
        of_one["selected"] = sorted(set(of_one["selected"]))
    return about


def _difficulty(store: Store, stage: str, student: str) -> dict[Key, Difficulty]:
    scored: dict[str, list[ScoredTrajectory]] = defaultdict(list)
    for row in read_jsonl(store.folder(stage) / "scores.jsonl", ScoredTrajectory):
        if row.turn_nll:
            scored[row.question_id].append(row)
    return {(row.question_id, row.sample): Difficulty(student, row.turn_nll, rank, len(rows))
            for rows in scored.values() for rank, row in enumerate(sorted(rows, key=lambda row: (row.nll, row.sample)), 1)}
