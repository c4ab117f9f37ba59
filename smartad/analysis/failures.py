"""What went wrong in a sweep: stages that failed, episodes that did not end in an answer, answers that nobody could grade."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smartad.analysis.finished import Finished
from smartad.store import Store
from smartad.sweep.ledger import Ledger
from smartad.sweep.state import Look


@dataclass(frozen=True)
class Failed:
    """A stage that failed."""

    fingerprint: str
    kind: str
    """The class of the failure, as in ``runner.classify``."""
    message: str
    rows: tuple[str, ...]
    """Labels of those that wait for it."""


@dataclass(frozen=True)
class Endings:
    """How a row's attempts ended, over its seeds and benchmarks."""

    row: str
    attempts: int
    stops: Mapping[str, int]
    """Why the episodes ended -> how many."""
    steps: Mapping[str, int]
    """What became of their steps -> how many."""


def failed(book: Ledger, look: Look) -> list[Failed]:
    """By class, then in the order of the sweep."""
    rows: dict[str, dict[str, None]] = {}
    for trial in book.trials:
        for run in trial.runs:
            for fingerprint in run.stages:
                if fingerprint in look.failures:
                    rows.setdefault(fingerprint, {})[trial.label] = None
    found = [Failed(f, str(note["class"]), str(note["message"]), tuple(rows[f])) for f, note in look.failures.items()]
    return sorted(found, key=lambda failure: failure.kind)


def endings(book: Ledger, stages: Sequence[Finished]) -> list[Endings]:
    """Of every row with a finished evaluation.  An evaluation that seeds share counts once."""
    metrics = {stage.fingerprint: stage.metrics for stage in stages if stage.stage == "evaluate"}
    found = []
    for trial in book.trials:
        own = dict.fromkeys(f for run in trial.runs for f in run.stages if f in metrics)
        if own:
            of = [metrics[f] for f in own]
            attempts = sum(int(said.get("n") or 0) for said in of)
            found.append(Endings(trial.label, attempts, _counted(of, "stop/"), _counted(of, "step/")))
    return found


def _counted(metrics: Sequence[Mapping[str, float | None]], prefix: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for of_one in metrics:
        counts.update({name.removeprefix(prefix): int(n) for name, n in of_one.items() if name.startswith(prefix) and n})
    return dict(counts.most_common())


def ungraded(store: Store, stages: Sequence[Finished]) -> dict[tuple[str, str], int]:
    """(kind of grader, reason) -> how many verdicts it kept from being given, the most first."""
    counts: Counter[tuple[str, str]] = Counter()
    for stage in stages:
        if stage.stage == "grade" and stage.metrics.get("ungraded"):
            with store.text(stage.fingerprint, "verdicts.jsonl") as file:
                for line in file:
                    if '"correct": null' in line and (verdict := json.loads(line))["correct"] is None:
                        counts[verdict["by"], verdict["reason"]] += 1
    return dict(counts.most_common())
