"""Id lists: every question of a benchmark by its id and short hashes of its text and of what decides about its answer.

They are in the repository where the text is not.  With them a subset is found in any file that holds its rows, in any order,
and a row that was changed is named.  ``python -m smartad.data FOLDER`` writes them anew.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from smartad import benchmarks
from smartad.fingerprint import canonical, digest
from smartad.types import Question

Golds = Literal["original", "corrected"]
"""The answers as the benchmark's makers published them, or with those corrections that are known (``DEFECTS``)."""
FOLDER = "ids"


@dataclass(frozen=True)
class Row:
    """One question, without its text."""

    id: str
    text: str
    """Digest of its text."""
    gold: str
    """Digest of its accepted answers, or of the tests that decide."""


@dataclass(frozen=True)
class IdList:
    """The questions of a benchmark."""

    original: str
    """``sha256_of`` the questions as published."""
    corrected: str
    """And with corrections; the same where there are none."""
    rows: tuple[Row, ...]
    """In the benchmark's order."""

    def sha256(self, golds: Golds) -> str:
        """Of its questions."""
        return self.original if golds == "original" else self.corrected


def sha256_of(questions: Iterable[Question]) -> str:
    """SHA-256 of whole questions in their order, hex.  A field that is None does not count, so new ones change nothing."""
    lines = (json.dumps(canonical(question), sort_keys=True, separators=(",", ":")) for question in questions)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def row_of(question: Question) -> Row:
    """A question's entry."""
    return Row(question.id, digest(question.text), digest([question.answers, question.tests, question.entry_point]))


@cache
def known(name: str) -> IdList | None:
    """The list of benchmark ``name``; None where there is none: it is generated, or somebody's own."""
    file = resources.files(benchmarks).joinpath(FOLDER, f"{name}.tsv")
    if not file.is_file():
        return None
    head, *lines = file.read_text(encoding="utf-8").splitlines()
    _, original, corrected = head.split("\t")
    return IdList(original, corrected, tuple(Row(f"{name}/{key}", text, gold) for key, text, gold in
                                             (line.split("\t") for line in lines)))


def write(name: str, questions: Sequence[Question], folder: Path) -> Path:
    """The list of benchmark ``name``, whose questions as published are ``questions``, as a file in ``folder``."""
    path = folder / f"{name}.tsv"
    corrected = sha256_of(benchmarks.corrected(name, questions))
    rows = map(row_of, questions)
    lines = ["\t".join(["# sha256", sha256_of(questions), corrected]),
             *("\t".join([row.id.removeprefix(f"{name}/"), row.text, row.gold]) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def pin(name: str, golds: Golds) -> str | None:
    """What identifies the questions of benchmark ``name``: their SHA-256; of one without a list that of its raw file, and None of
    generated ones, which are code."""
    if (listed := known(name)) is not None:
        return listed.sha256(golds)
    source = benchmarks.get(name).SOURCE
    return source.sha256 if source else None


def differences(name: str, questions: Sequence[Question]) -> list[str]:
    """How ``questions`` are not benchmark ``name``'s as published, a line for every row; empty when they are, or nobody knows."""
    listed = known(name)
    if listed is None or sha256_of(questions) == listed.original:
        return []
    there = {question.id: row_of(question) for question in questions}
    lines = []
    for row in listed.rows:
        found = there.get(row.id)
        if found is None:
            lines.append(f"{row.id} is missing")
        elif (found.text, found.gold) != (row.text, row.gold):
            lines.append(f"{row.id} has another {'text' if found.text != row.text else 'answer'}")
    wanted = {row.id for row in listed.rows}
    lines += [f"{question.id} does not belong to it" for question in questions if question.id not in wanted]
    if not lines:
        ordered = [question.id for question in questions] == [row.id for row in listed.rows]
        lines = ["other levels or subjects" if ordered else "its rows are in another order, or twice there"]
    return lines
