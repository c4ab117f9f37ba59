"""What every question of a benchmark came to, for one run: what is counted in a cell, before it is counted."""

import json
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smartad.records import read_jsonl
from smartad.stages.aggregate import SECOND
from smartad.store import Store, StoreError
from smartad.sweep.ledger import Run
from smartad.types import Question


@dataclass(frozen=True)
class Outcomes:
    """One benchmark of one run, question by question."""

    benchmark: str
    source: str
    """Fingerprint of the grade stage."""
    grader: str
    """Who decided, with its version; "" when there is no verdict."""
    questions: tuple[str, ...]
    """Ids, in the order of the verdicts."""
    right: NDArray[np.float64]
    """Of each question, the share of its graded attempts that is right; NaN when none is graded."""

    @property
    def percent(self) -> float | None:
        """pass@1 over the questions with a graded attempt; None when there is none."""
        graded = self.right[~np.isnan(self.right)]
        return 100 * float(graded.mean()) if graded.size else None


def grade_of(store: Store, run: Run, benchmark: str, grader: str | None = None) -> str | None:
    """Fingerprint of the grade stage that a finished run's cell is counted from: by ``grader`` where that has graded, else by
    the one that counts.  None when the run is not finished or has no such benchmark."""
    if not store.has(run.goal):
        return None
    inputs = store.record(run.goal)["identity"]["inputs"]
    found = inputs.get(f"{benchmark}{SECOND}{grader}") or inputs.get(benchmark)
    return None if found is None else str(found)


def attempts_of(store: Store, grade: str) -> str:
    """Fingerprint of the stage whose attempts ``grade`` decided on."""
    return str(store.record(grade)["identity"]["inputs"]["attempts"])


def outcomes(store: Store, grade: str) -> Outcomes:
    """What a grade stage of one benchmark says of each question.  Raises StoreError when its verdicts cannot be read."""
    inputs = store.record(grade)["identity"]["inputs"]
    benchmark = next(role.removeprefix("questions/") for role in inputs if role.startswith("questions/"))
    verdicts: dict[str, list[bool]] = defaultdict(list)
    by = ""
    path = store.folder(grade) / "verdicts.jsonl"
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                verdict = json.loads(line)
                by = verdict["by"]
                graded = verdicts[verdict["question_id"]]
                if verdict["correct"] is not None:
                    graded.append(verdict["correct"])
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is missing or damaged ({error}); `smartad walk {grade}` shows what else is.  To have it made "
                         f"again, delete {path.parent} and start the sweep again") from error
    right = np.array([sum(graded) / len(graded) if graded else np.nan for graded in verdicts.values()], dtype=np.float64)
    return Outcomes(benchmark, grade, by, tuple(verdicts), right)


def questions_of(store: Store, stage: str) -> dict[str, Question]:
    """The questions that a grade or evaluate stage is about, by id."""
    inputs = store.record(stage)["identity"]["inputs"]
    folders = [store.folder(f) for role, f in inputs.items() if role.startswith("questions/")]
    return {q.id: q for folder in folders for q in read_jsonl(folder / "questions.jsonl", Question)}
