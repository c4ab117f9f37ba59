"""The pools behind a sweep, as SmartAD's section 4.7 looks at them: where their trajectories, verdicts and scores lie."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smartad import difficulty
from smartad.records import read_jsonl
from smartad.store import Store
from smartad.sweep import ledger
from smartad.types import Question, ScoredTrajectory, Trajectory, UserError, Verdict


@dataclass(frozen=True)
class Source:
    """What one analysis is made from: fingerprints of finished stages."""

    pool: str
    verdicts: str
    scores: str


def sources(store: Store, target: str) -> list[Source]:
    """What the finished select stages of a sweep, or the one behind a stage, were made from, each once.

    Raises UserError when there is none.
    """
    stages = ledger.load(store, target).stages() if ledger.candidates(store, target) else store.upstream([store.find(target)])
    found = behind(store, stages)
    if not found:
        raise UserError(f"no select stage of {target} is finished in {store.root}, and a pool, its verdicts and its scores meet "
                        "there.  Name a sweep, a select stage or what was made of one; `smartad run ... --until select` "
                        "brings it about")
    return found


def behind(store: Store, stages: Sequence[str]) -> list[Source]:
    """What those of ``stages`` that are finished select stages were made from, each once."""
    inputs = [store.record(f)["identity"]["inputs"] for f in stages if f.startswith("select-") and store.has(f)]
    return list(dict.fromkeys(Source(*(of[role] for role in ("pool", "verdicts", "scores"))) for of in inputs))


def measured(store: Store, source: Source) -> Iterator[tuple[str, str, list[difficulty.Measured]]]:
    """(training set, student, trajectories) of each training set."""
    identity = store.record(source.scores)["identity"]
    questions = {q.id: q for role, f in identity["inputs"].items() if role.startswith("questions/")
                 for q in read_jsonl(store.folder(f) / "questions.jsonl", Question)}
    rows = difficulty.measure(questions, read_jsonl(store.folder(source.pool) / "trajectories.jsonl", Trajectory),
                              read_jsonl(store.folder(source.scores) / "scores.jsonl", ScoredTrajectory),
                              read_jsonl(store.folder(source.verdicts) / "verdicts.jsonl", Verdict))
    for name, of_set in difficulty.by_set(rows).items():
        yield name, identity["config"]["student"], of_set
