"""The rows of a sweep as pictures take them: what is finished of each, and which are drawn."""

import ast
import dataclasses
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from typing import Any

from smartad import difficulty
from smartad.analysis import buckets
from smartad.analysis.arms import arm, benchmarks_of
from smartad.analysis.outcomes import attempts_of
from smartad.dialect import DIALECTS
from smartad.figures.scores import best_of, overall
from smartad.records import read_jsonl
from smartad.store import Store
from smartad.sweep import results
from smartad.sweep.ledger import Ledger, LedgerTrial
from smartad.tables import Entry, Table
from smartad.types import Question, UserError

POOLS = 8
"""Training sets side by side, at most."""


class NotDrawable(UserError):
    """A sweep does not have what a picture shows; the message says what is missing."""


@dataclass(frozen=True)
class Row:
    """A row of which something is graded."""

    trial: LedgerTrial
    entries: Mapping[str, Entry]
    """Of the table, by column."""

    @property
    def label(self) -> str:
        """As in the table."""
        return self.trial.label

    @property
    def whole(self) -> bool:
        """Whether every seed of it has every number."""
        return all(entry.percent is not None and entry.part is None for entry in self.entries.values())


@dataclass(frozen=True)
class Episodes:
    """What the attempts at one benchmark took, one number each."""

    tokens: tuple[int, ...]
    """That were generated; of those attempts whose engine counts."""
    uncounted: int
    """Attempts whose engine does not."""
    searches: Mapping[str, tuple[int, ...]]
    """Question -> of each attempt, the calls of web_search as they are written in the code that ran."""


@dataclass(frozen=True)
class Finished:
    """What there is of a sweep.  It remembers what several pictures ask for."""

    store: Store
    book: Ledger
    """Without the rows that are not asked for."""
    table: Table
    """Of all rows."""
    rows: tuple[Row, ...]
    """In the order of the table."""
    missing: tuple[str, ...]
    """Labels of the rows of which nothing is graded, or that were stopped early."""
    _episodes: dict[str, Episodes] = field(default_factory=dict, repr=False, compare=False)
    _questions: dict[str, list[Question]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def benchmarks(self) -> list[str]:
        """In the order of the table's columns."""
        return benchmarks_of(self.book)

    def best(self, most: int, rows: Sequence[Row] | None = None) -> list[Row]:
        """The ``most`` rows (of ``rows``) with the best macro average, those without one last, in their order."""
        rows = self.rows if rows is None else rows
        ranked = sorted(rows, key=lambda row: overall(row.entries, self.benchmarks), reverse=True)[:most]
        kept = {row.label for row in ranked}
        return [row for row in rows if row.label in kept]

    def evaluations(self, row: Row, benchmark: str) -> dict[str, dict[str, Any]]:
        """Fingerprint -> record of the row's evaluate stages of ``benchmark``, those that seeds share once."""
        attempts = dict.fromkeys(attempts_of(self.store, grade) for grade in row.entries[benchmark].source)
        return {f: self.store.record(f) for f in attempts}

    @cached_property
    def configs(self) -> dict[str, dict[str, Any]]:
        """Label -> how the row was evaluated: the config of one of its evaluate stages."""
        graded = {row.label: next(grade for entry in row.entries.values() for grade in entry.source) for row in self.rows}
        return {label: self.store.record(attempts_of(self.store, grade))["identity"]["config"] for label, grade in graded.items()}

    @cached_property
    def agents(self) -> list[Row]:
        """The rows that write code that is run, and are no chains of thought."""
        return [row for row in self.rows if DIALECTS[self.configs[row.label]["dialect"]].acts]

    def questions(self, grade: str) -> list[Question]:
        """Those that a grade stage is about."""
        folders = [f for role, f in self.store.record(grade)["identity"]["inputs"].items() if role.startswith("questions/")]
        for f in folders:
            if f not in self._questions:
                self._questions[f] = list(read_jsonl(self.store.folder(f) / "questions.jsonl", Question))
        return [question for f in folders for question in self._questions[f]]

    def episodes(self, attempts: str) -> Episodes:
        """What the attempts of an evaluate stage took.  Each file is read once."""
        if attempts not in self._episodes:
            self._episodes[attempts] = _read(self.store, attempts)
        return self._episodes[attempts]

    @cached_property
    def _sets(self) -> tuple[list[tuple[tuple[str, str, str, str, str], list[difficulty.Measured]]], int]:
        """The first POOLS training sets, what tells each from others and its trajectories; and how many sets there are."""
        sets, number = [], 0
        for source in buckets.behind(self.store, self.book.stages()):
            for name, student, rows in buckets.measured(self.store, source):
                number += 1
                if number <= POOLS:
                    size = results.SIZE.search(student)
                    sets.append(((name or "all", size[0] if size else student, source.pool[:-6], source.scores[:-6],
                                  source.verdicts[:-6]), rows))
        return sets, number

    @property
    def sets(self) -> int:
        """Training sets of all pools: of so many, ``pools`` has the first."""
        return self._sets[1]

    @cached_property
    def pools(self) -> dict[str, list[difficulty.Measured]]:
        """The trajectories of the first POOLS training sets.  A name says no more than tells it from the others: the set, the
        student's size, the pool; or all that it is made from."""
        sets, _ = self._sets
        for told in ((0,), (0, 1), (0, 2), (0, 1, 2), (0, 1, 2, 3, 4)):
            found = {", ".join(traits[at] for at in told): rows for traits, rows in sets}
            if len(found) == len(sets):
                break
        return found

    def notes(self, shown: Sequence[Row], of: Sequence[Row] | None = None) -> str:
        """What the caption must say of rows that are not drawn, or not whole.  ``of``: those that the picture is about."""
        of = self.rows if of is None else of
        notes = [best_of([row.entries for row in shown], len(of), self.benchmarks).strip()]
        if partial := [row.label for row in shown if not row.whole]:
            notes.append(f"Finished in part: {_listed(partial)}.")
        if self.missing:
            notes.append(f"Not finished, and not drawn: {_listed(self.missing)}.")
        return " ".join(filter(None, notes))


def finished(store: Store, book: Ledger, names: Sequence[str] = ()) -> Finished:
    """What is finished of a sweep; of ``names`` alone, when there are any (labels or their beginnings).

    Raises StoreError for a name that means no row of it, and NotDrawable when nothing is graded.
    """
    table = results.table(store, book)
    if names:
        wanted = {arm(store, name, near=book).trial.label for name in names}
        book = dataclasses.replace(book, trials=tuple(trial for trial in book.trials if trial.label in wanted))
    trials = {trial.label: trial for trial in book.trials}
    rows = [Row(trials[label], entries) for label, entries in table.rows.items() if label in trials]
    graded = [any(entry.percent is not None for entry in row.entries.values()) for row in rows]
    there = tuple(compress(rows, graded))
    missing = [row.label for row, known in zip(rows, graded, strict=True) if not known]
    if not there:
        of = _listed(missing) if names else book.name
        ungraded = sum(row.entries[name].ungraded for row in rows for name in benchmarks_of(book))
        why = (f"all {ungraded} answers of {of} are ungraded (`smartad walk CELL --ungraded` lists them)" if ungraded else
               f"nothing is graded yet of {of}")
        raise NotDrawable(f"{why}, so there is nothing to draw")
    return Finished(store, book, table, there, tuple(missing))


def by_size(size: str) -> tuple[float, str]:
    """For putting sizes (``1.5B``, ``500M``) in order, names that are none last."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([BM])", size)
    return (float(found[1]) * {"B": 1e9, "M": 1e6}[found[2]], "") if found else (float("inf"), size)


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
    tokens: list[int] = []
    called: dict[str, tuple[int, ...]] = {}
    uncounted = 0
    with store.text(attempts, "trajectories.jsonl") as file:
        for line in file:
            row = json.loads(line)
            if row["tokens"] is None:
                uncounted += 1
            else:
                tokens.append(row["tokens"])
            calls = sum(searches(step["action"]) for step in row["steps"])
            called[row["question_id"]] = (*called.get(row["question_id"], ()), calls)
    return Episodes(tuple(tokens), uncounted, called)


def _listed(labels: Sequence[str], most: int = 3) -> str:
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more
