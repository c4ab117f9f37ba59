"""How hard a pool's trajectories are for the untrained student, and what goes along with it (section 4.7, Tables 7-9, Fig. 4).

All trajectories of a pool that were scored are looked at, right and wrong.  They are parted into easy, medium and hard by
their NLL (Eq. 3) twice: **global**, all of a set together, and **per question**, each question's on their own.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import fsum

from smartad.types import Question, ScoredTrajectory, Trajectory, Verdict

BUCKETS = ("E", "M", "H")
"""Easy, medium, hard."""
WAYS = ("G", "PQ")
"""Global, per question."""
ROWS = {"N_traj": "", "N_q": "", "Mean NLL": ".3f", "Traj. chars": ".1f", "Tool calls": ".3f", "Acc. (%)": ".1f", "n graded": "",
        "Q words": ".1f"}
"""Row of Tables 7-9 -> how its numbers are written.  ``n graded`` is ours: accuracy is over what could be graded."""
COMPARED = ("Acc. (%)", "Tool calls")
"""Of which Fig. 4 has hard minus easy."""


def columns() -> list[str]:
    """G-E, G-M, G-H, PQ-E, PQ-M, PQ-H: global and per question."""
    return [f"{way}-{bucket}" for way, bucket in product(WAYS, BUCKETS)]


HEADER = ("Metric", *columns(), *(f"{way} H-E" for way in WAYS))


@dataclass(frozen=True)
class Measured:
    """One scored trajectory, as far as the tables look at it."""

    question_id: str
    nll: float
    """Eq. 3, nats per token."""
    chars: int
    """Of what the teacher wrote: the assistant's turns, without observations."""
    tool_calls: int
    correct: bool | None
    """None: not graded, or not to be graded.  Never counted as wrong."""
    question_words: int


def measure(questions: Mapping[str, Question], pool: Iterable[Trajectory], scores: Iterable[ScoredTrajectory],
            verdicts: Iterable[Verdict]) -> list[Measured]:
    """Every trajectory of ``pool`` that has a score, in its order."""
    score_of = {(s.question_id, s.sample): s for s in scores}
    correct = {(v.question_id, v.sample): v.correct for v in verdicts}
    return [Measured(t.question_id, score_of[key].nll, sum(len(step.text) for step in t.steps), t.tool_calls, correct.get(key),
                     len(questions[t.question_id].text.split()))
            for t in pool if (key := (t.question_id, t.sample)) in score_of]


def by_set(rows: Iterable[Measured]) -> dict[str, list[Measured]]:
    """Apart by training set, as the tables are: what stands before ``/`` in a question's id."""
    return _grouped(rows, lambda row: row.question_id.rpartition("/")[0])


def table(rows: Sequence[Measured]) -> dict[str, dict[str, float | None]]:
    """Row of ROWS -> column (``G-E`` ... ``PQ-H``) -> number; None where a bucket is empty, or nothing in it was graded.

    Everything but N_q is a mean over the bucket's trajectories, question length too: only so do the weighted means of the
    papers' buckets agree between both ways (39.1 words in Table 8).
    """
    of_question = _grouped(rows, lambda row: row.question_id).values()
    ways = {"G": [rows], "PQ": of_question}
    parts: dict[str, list[Measured]] = {column: [] for column in columns()}
    for way, groups in ways.items():
        for group in groups:
            for row, bucket in zip(group, tertiles([row.nll for row in group]), strict=True):
                parts[f"{way}-{bucket}"].append(row)
    numbers = {column: _numbers(part) for column, part in parts.items()}
    return {name: {column: numbers[column][name] for column in parts} for name in ROWS}


def rows_of(numbers: Mapping[str, Mapping[str, float | None]]) -> list[tuple[str | float | None, ...]]:
    """A table as lines under HEADER.  Hard minus easy is that of Fig. 4: of accuracy, in points, and of tool calls."""
    return [(name, *(cells[column] for column in columns()),
             *(_difference(cells, way) if name in COMPARED else None for way in WAYS)) for name, cells in numbers.items()]


def _difference(cells: Mapping[str, float | None], way: str) -> float | None:
    hard, easy = cells[f"{way}-H"], cells[f"{way}-E"]
    return None if hard is None or easy is None else hard - easy


def tertiles(values: Sequence[float]) -> list[str]:
    """The bucket of each value: E up to the first tertile, M up to the second, H above; equal values are together.

    Of ten different values 4, 3 and 3; of equal ones all are E, which is why the papers' per-question buckets are uneven.
    """
    if not values:
        return []
    low, high = (_quantile(sorted(values), thirds) for thirds in (1, 2))
    return ["E" if value <= low else "M" if value <= high else "H" for value in values]


def _quantile(ordered: Sequence[float], thirds: int) -> Fraction:
    """With linear interpolation between neighbours; exact, so that it is between them however near they are."""
    at, rest = divmod(thirds * (len(ordered) - 1), 3)
    low, high = (Fraction(ordered[min(i, len(ordered) - 1)]) for i in (at, at + 1))
    return low + (high - low) * rest / 3


def _numbers(rows: Sequence[Measured]) -> dict[str, float | None]:
    graded = [row.correct for row in rows if row.correct is not None]
    return {"N_traj": len(rows), "N_q": len({row.question_id for row in rows}), "Mean NLL": _mean([r.nll for r in rows]),
            "Traj. chars": _mean([r.chars for r in rows]), "Tool calls": _mean([r.tool_calls for r in rows]),
            "Acc. (%)": _mean([100.0 * right for right in graded]), "n graded": len(graded),
            "Q words": _mean([r.question_words for r in rows])}


def _mean(values: Sequence[float]) -> float | None:
    return fsum(values) / len(values) if values else None


def _grouped(rows: Iterable[Measured], key: Callable[[Measured], str]) -> dict[str, list[Measured]]:
    groups: dict[str, list[Measured]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups
