"""The rows of a sweep as pictures take them: what is finished of each, and which are drawn."""

import ast
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from smartad import difficulty
from smartad.analysis import buckets
from smartad.analysis.arms import arm, benchmarks_of
from smartad.analysis.outcomes import attempts_of
from smartad.dialect import DIALECTS
from smartad.figures.scores import overall
from smartad.store import Store
from smartad.sweep import results
from smartad.sweep.ledger import Ledger, LedgerTrial, Run
from smartad.tables import RunCells
from smartad.types import UserError


class NotDrawable(UserError):
    """A sweep does not have what a picture shows; the message says what is missing."""


@dataclass(frozen=True)
class Row:
    """A row of which at least one seed is finished."""

    trial: LedgerTrial
    runs: tuple[Run, ...]
    """Those that are finished."""
    cells: tuple[RunCells, ...]
    """Of each of ``runs``."""

    @property
    def label(self) -> str:
        """As in the table."""
        return self.trial.label


@dataclass(frozen=True)
class Episodes:
    """What the attempts at one benchmark took, one number each."""

    tokens: tuple[int, ...]
    """That were generated; of those attempts whose engine counts."""
    uncounted: int
    """Attempts whose engine does not."""
    searches: tuple[int, ...]
    """Calls of web_search, as they are written in the code that ran."""


@dataclass(frozen=True)
class Finished:
    """What there is of a sweep."""

    store: Store
    book: Ledger
    rows: tuple[Row, ...]
    """In the order of the sweep."""
    missing: tuple[str, ...]
    """Labels of the rows of which nothing is finished, or that were stopped early."""
    _episodes: dict[str, Episodes] = field(default_factory=dict, repr=False, compare=False)

    @property
    def benchmarks(self) -> list[str]:
        """In the order of the table's columns."""
        return benchmarks_of(self.book)

    def best(self, most: int, rows: Sequence[Row] | None = None) -> list[Row]:
        """The ``most`` rows (of ``rows``) with the best macro average, in their order."""
        rows = self.rows if rows is None else rows
        ranked = sorted(rows, key=lambda row: overall(row.cells, self.benchmarks), reverse=True)[:most]
        return [row for row in rows if any(row is one for one in ranked)]

    def evaluations(self, row: Row, benchmark: str) -> dict[str, dict[str, Any]]:
        """Fingerprint -> record of the row's evaluate stages of ``benchmark``, those that seeds share once."""
        grades = dict.fromkeys(run.cells[benchmark].source for run in row.cells if benchmark in run.cells)
        return {f: self.store.record(f) for f in dict.fromkeys(attempts_of(self.store, grade) for grade in grades)}

    def config(self, row: Row) -> dict[str, Any]:
        """How a row was evaluated: the config of its evaluate stages."""
        records = (self.evaluations(row, name) for name in self.benchmarks)
        return next((record["identity"]["config"] for found in records for record in found.values()), {})

    def acts(self, row: Row) -> bool:
        """Whether it writes code that is run, and is no chain of thought."""
        return bool(config := self.config(row)) and DIALECTS[config["dialect"]].acts

    def episodes(self, attempts: str) -> Episodes:
        """What the attempts of an evaluate stage took.  Each file is read once."""
        if attempts not in self._episodes:
            self._episodes[attempts] = _read(self.store, attempts)
        return self._episodes[attempts]

    @cached_property
    def pools(self) -> list[tuple[str, list[difficulty.Measured]]]:
        """(name, trajectories) of every training set under every student, the pool in the name where there are several."""
        found = buckets.behind(self.store, self.book.stages())
        sets = [(name, student.partition("@")[0].rpartition("/")[2], source.pool, rows)
                for source in found for name, student, rows in buckets.measured(self.store, source)]
        students, pools = ({one[at] for one in sets} for at in (1, 2))
        return [(", ".join([name or "all", *([student] if len(students) > 1 else []), *([pool] if len(pools) > 1 else [])]), rows)
                for name, student, pool, rows in sets]

    def notes(self, shown: Sequence[Row], of: Sequence[Row] | None = None) -> str:
        """What the caption must say of rows that are not drawn, or not whole.  ``of``: those that the picture is about."""
        of = self.rows if of is None else of
        notes = [f"The {len(shown)} best of {len(of)} rows by Avg."] if len(shown) < len(of) else []
        partial = [row.label for row in shown if len(row.runs) < len(row.trial.runs)]
        if partial:
            notes.append(f"Not all seeds are finished of {_listed(partial)}.")
        if self.missing:
            notes.append(f"Not finished, and not drawn: {_listed(self.missing)}.")
        return " ".join(notes)


def finished(store: Store, book: Ledger, names: Sequence[str] = ()) -> Finished:
    """What is finished of a sweep; of ``names`` alone, when there are any (labels or their beginnings).

    Raises StoreError for a name that means no row of it, and NotDrawable when no row is finished.
    """
    wanted = {arm(store, name, near=book).trial.label for name in names}
    rows, missing = [], []
    for trial in book.trials:
        if wanted and trial.label not in wanted:
            continue
        runs = tuple(run for run in trial.runs if store.has(run.goal))
        if runs and not trial.was_stopped(store):
            rows.append(Row(trial, runs, tuple(results.cells(store, run.goal) for run in runs)))
        else:
            missing.append(trial.label)
    if not rows:
        raise NotDrawable(f"no row of {book.name} is finished yet, so there is nothing to draw" if not names else
                          f"of {_listed(missing)} nothing is finished yet, so there is nothing to draw")
    return Finished(store, book, tuple(rows), tuple(missing))


def size_of(student: str) -> str:
    """A model's size by its name: ``1.5B``; the name itself where it says none."""
    name = student.partition("@")[0].rpartition("/")[2]
    found = re.search(r"(?<![\d.])(\d+(?:\.\d+)?)[bB](?![A-Za-z])", name)
    return f"{found[1]}B" if found else name


def by_size(size: str) -> tuple[float, str]:
    """For putting sizes in order, names that are none last."""
    return (float(size[:-1]), "") if re.fullmatch(r"\d+(\.\d+)?B", size) else (float("inf"), size)


def searches(action: str) -> int:
    """Calls of web_search in a step's code, one in a loop once; what is not Python calls nothing."""
    if "web_search" not in action:
        return 0
    try:
        with warnings.catch_warnings(action="ignore"):  # a student's "\d" is none of the reader's business
            tree = ast.parse(action)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0
    return sum(isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "web_search"
               for node in ast.walk(tree))


def _read(store: Store, attempts: str) -> Episodes:
    tokens, called, uncounted = [], [], 0
    with (store.folder(attempts) / "trajectories.jsonl").open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if row["tokens"] is None:
                uncounted += 1
            else:
                tokens.append(row["tokens"])
            called.append(sum(searches(step["action"]) for step in row["steps"]))
    return Episodes(tuple(tokens), uncounted, tuple(called))


def _listed(labels: Sequence[str], most: int = 3) -> str:
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more
