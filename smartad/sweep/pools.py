"""What a pool of trajectories holds: who got how much right, what more samples cover, and what is odd about it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from smartad.dialect import DIALECTS, edge_cases
from smartad.records import read_jsonl
from smartad.store import Store
from smartad.types import Origin, Segment, Trajectory, UserError, Verdict

MAKERS = ("import", "collect")
PARTS = (*MAKERS, "grade", "score", "select", "train")
Key = tuple[str, int]
"""(question id, sample)."""


@dataclass(frozen=True)
class Teacher:
    """One sample of every question: of an imported pool, what one teacher wrote."""

    name: str
    sample: int
    n: int
    answered: int
    right: int | None
    """By the grader; None where the pool has not been graded."""
    ungraded: int | None
    claimed: int | None
    """Right by those who made the trajectories; None where they do not say."""


@dataclass(frozen=True)
class Coverage:
    """What the first ``k`` samples of each question give."""

    k: int
    one: int
    """Questions with a right trajectory."""
    two: int
    """Questions with two or more, among which there is something to choose."""


@dataclass(frozen=True)
class Agreement:
    """The grader's verdicts beside the makers'."""

    both_right: int
    only_ours: int
    only_theirs: int
    both_wrong: int
    ungraded: int


@dataclass(frozen=True)
class PoolSummary:
    """A pool, and what the stages after it made of it."""

    fingerprints: Mapping[str, str]
    """Stage -> fingerprint, of those of PARTS that are finished."""
    metrics: Mapping[str, Mapping[str, float | None]]
    """Stage -> what it reported."""
    questions: int
    trajectories: int
    teachers: tuple[Teacher, ...]
    coverage: tuple[Coverage, ...]
    """Empty where the pool has not been graded."""
    agreement: Agreement | None
    """None where nothing was claimed, or graded."""
    told: tuple[int, int] | None
    """Trajectories marked ``told_wrong``, and those of them that the grader finds right; None where there are no marks."""
    cases: Mapping[str, int]
    """Edge case of the dialect -> trajectories; empty where no stage says in which dialect the pool is."""
    segments: Mapping[str, float]
    """Segment -> mean tokens in a trajectory that was trained on; empty where nothing was."""


def summarise(store: Store, fingerprint: str) -> PoolSummary:
    """The pool that ``fingerprint`` is or was made from.  Raises UserError for a stage that has none."""
    parts = stages_behind(store, fingerprint)
    maker = next((parts[stage] for stage in MAKERS if stage in parts), None)
    if maker is None:
        raise UserError(f"{fingerprint} was not made from a pool; name a stage of {', '.join(PARTS)}")
    records = {stage: store.record(part) for stage, part in parts.items()}
    pool = {(t.question_id, t.sample): t for t in read_jsonl(store.folder(maker) / "trajectories.jsonl", Trajectory)}
    verdicts = _verdicts(store, parts.get("grade"))
    origins = _origins(store, parts.get("import"))
    reader = next((stage for stage in ("train", "score", "collect") if stage in records), None)
    form = records[reader]["identity"]["config"]["dialect"] if reader else None
    claims = {key: origin.claimed for key, origin in origins.items() if origin.claimed is not None}
    metrics = {stage: record["metrics"] for stage, record in records.items()}
    return PoolSummary(parts, metrics, len({question for question, _ in pool}), len(pool),
                       tuple(_teachers(pool, verdicts, origins, records)), tuple(_coverage(pool, verdicts)) if verdicts else (),
                       _agreement(verdicts, claims) if verdicts and claims else None, _told(verdicts, origins),
                       Counter(case for t in pool.values() for case in edge_cases(t.steps, DIALECTS[form]))
                       if form else {}, _segments(metrics.get("train", {})))


def stages_behind(store: Store, fingerprint: str) -> dict[str, str]:
    """Stage -> fingerprint: what ``fingerprint`` was made from, and of a bare pool the latest verdicts on it."""
    parts: dict[str, str] = {}

    def visit(one: str) -> None:
        record = store.record(one)["identity"]
        if record["stage"] in PARTS and not (record["stage"] == "grade" and of_attempts(record)):
            parts.setdefault(record["stage"], one)
        for role, parent in record["inputs"].items():
            if role in ("pool", "attempts", "selected", "verdicts", "scores", "adapter"):
                visit(parent)

    def of_attempts(record: Mapping[str, Any]) -> bool:
        """Whether a grade is of a student's attempts, and not of a pool."""
        return store.record(record["inputs"]["attempts"])["identity"]["stage"] not in MAKERS

    visit(fingerprint)
    maker = next((parts[stage] for stage in MAKERS if stage in parts), None)
    if maker and "grade" not in parts:
        grades = [store.record(f) for f in store.fingerprints() if f.startswith("grade-")]
        mine = [record for record in grades if record["identity"]["inputs"]["attempts"] == maker]
        if mine:
            parts["grade"] = max(mine, key=lambda record: float(record["started"]))["fingerprint"]
    return parts


def _verdicts(store: Store, grade: str | None) -> dict[Key, bool | None]:
    if grade is None:
        return {}
    return {(v.question_id, v.sample): v.correct for v in read_jsonl(store.folder(grade) / "verdicts.jsonl", Verdict)}


def _origins(store: Store, imported: str | None) -> dict[Key, Origin]:
    if imported is None:
        return {}
    return {(o.question_id, o.sample): o for o in read_jsonl(store.folder(imported) / "origins.jsonl", Origin)}


def _teachers(pool: Mapping[Key, Trajectory], verdicts: Mapping[Key, bool | None], origins: Mapping[Key, Origin],
              records: Mapping[str, Any]) -> Iterator[Teacher]:
    by_sample: dict[int, list[Key]] = defaultdict(list)
    for key in pool:
        by_sample[key[1]].append(key)
    for sample, keys in sorted(by_sample.items()):
        name = origins[keys[0]].teacher if origins else records["collect"]["identity"]["config"]["teacher"]
        claims = [origins[key].claimed for key in keys if origins and origins[key].claimed is not None]
        yield Teacher(name, sample, len(keys), sum(pool[key].stop == "answered" for key in keys),
                      sum(verdicts.get(key) is True for key in keys) if verdicts else None,
                      sum(verdicts.get(key) is None for key in keys) if verdicts else None,
                      sum(claim is True for claim in claims) if claims else None)


def _coverage(pool: Mapping[Key, Trajectory], verdicts: Mapping[Key, bool | None]) -> Iterator[Coverage]:
    for k in range(1, max(sample for _, sample in pool) + 2):
        right = Counter(question for question, sample in pool if sample < k and verdicts.get((question, sample)) is True)
        yield Coverage(k, len(right), sum(count > 1 for count in right.values()))


def _agreement(verdicts: Mapping[Key, bool | None], claims: Mapping[Key, bool]) -> Agreement:
    counts = Counter((verdicts.get(key), claim) for key, claim in claims.items())
    return Agreement(counts[True, True], counts[True, False], counts[False, True], counts[False, False],
                     counts[None, True] + counts[None, False])


def _told(verdicts: Mapping[Key, bool | None], origins: Mapping[Key, Origin]) -> tuple[int, int] | None:
    told = [key for key, origin in origins.items() if "told_wrong" in origin.marks]
    return (len(told), sum(verdicts.get(key) is True for key in told)) if told else None


def _segments(train: Mapping[str, float | None]) -> dict[str, float]:
    examples = train.get("examples")
    names = [segment.name.lower() for segment in Segment]
    return {name: (train.get(f"tokens/{name}") or 0) / examples for name in names} if examples else {}
