"""The data folder: a benchmark's own file, or what was built of the model hub's, each refused when it is not as known."""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smartad import benchmarks
from smartad.benchmarks import Defect, Source
from smartad.data import ids
from smartad.fingerprint import file_sha256
from smartad.records import read_jsonl
from smartad.types import Question, UserError

SHOWN = 5
"""Rows that differ which are named; the rest are counted."""


@dataclass(frozen=True)
class Report:
    """What a benchmark's file in the data folder is like."""

    name: str
    path: Path | None
    """None: neither its own file is there nor a built one; or it needs none."""
    questions: tuple[Question, ...]
    wrong: tuple[str, ...]
    """What is, in words; empty when everything is as known."""

    @property
    def without_gold(self) -> int:
        """Questions that nothing can grade."""
        return sum(ungradable(question) for question in self.questions)


def built(name: str) -> str:
    """Path below the data folder of the questions of benchmark ``name`` that were built of another file than its own."""
    return f"questions/{name}.jsonl"


def located(name: str, data: Path | None) -> Path | None:
    """The file that the questions of benchmark ``name`` are read from: its own if it is there, or a built one; else None."""
    source = benchmarks.get(name).SOURCE
    if source is None or data is None:
        return None
    return next((path for path in (data / source.file, data / built(name)) if path.is_file()), None)


def read(name: str, data: Path | None) -> list[Question]:
    """The questions of benchmark ``name`` as published.

    Raises UserError when there is no file of it, or one that is not as known; the first rows that differ are named.
    """
    source = benchmarks.get(name).SOURCE
    path = located(name, data)
    if source is None:
        return benchmarks.get(name).load(None)
    if path is None:
        pinned(source, source.sha256, data, f", or have it fetched: smartad data prefetch {name} --to FOLDER")
    report = check(name, data)
    if report.wrong:
        raise UserError("; ".join(report.wrong))
    return list(report.questions)


def check(name: str, data: Path | None) -> Report:
    """How the questions of benchmark ``name`` are in the data folder.  It raises nothing: what is wrong is in the report."""
    module, path = benchmarks.get(name), located(name, data)
    if module.SOURCE is None:
        return Report(name, None, tuple(module.load(None)), ())
    if path is None:
        return Report(name, None, (), (f"not in {data}" if data else "needs a data folder",))
    own = data is not None and path == data / module.SOURCE.file
    expected = module.SOURCE.sha256 if own else None
    found = file_sha256(path) if expected else None
    wrong = [f"{path} is not the pinned file: sha256 expected {expected}, found {found}"] if found != expected else []
    try:
        questions = module.load(path) if own else list(read_jsonl(path, Question))
    except (ValueError, LookupError, TypeError, OSError, EOFError, zlib.error) as error:
        return Report(name, path, (), (*wrong, f"{path} cannot be read: {type(error).__name__}: {error}"))
    rows = ids.differences(name, questions)
    if rows:
        more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        wrong.append(f"{', '.join(rows[:SHOWN])}{more}" if wrong else f"{path}: {', '.join(rows[:SHOWN])}{more}")
    elif wrong and ids.known(name):
        wrong.append("its questions are the same, only written otherwise")
    return Report(name, path, tuple(questions), tuple(wrong))


def pinned(source: Source | None, sha256: str | None, data: Path | None, otherwise: str = "") -> Path | None:
    """Where ``source`` is below the data folder, its content checked where it is known; None for generated data.

    ``otherwise``: another way out of a missing one.  Raises UserError when it is missing or is not the pinned file.
    """
    if source is None:
        return None
    if data is None:
        raise UserError(f"{source.file} is needed; say where it is with data=FOLDER{otherwise}")
    path = data / source.file
    if not path.is_file():
        raise UserError(f"no file {path}; say where {source.file} is with data=FOLDER{otherwise}")
    expected = sha256 or source.sha256
    if expected is not None and (found := file_sha256(path)) != expected:
        raise UserError(f"{path} is not the pinned file: sha256 expected {expected}, found {found}")
    return path


def ungradable(question: Question) -> bool:
    """Whether nothing says what its right answer is."""
    return not question.answers and question.tests is None


def defects_among(name: str, questions: Sequence[Question]) -> list[Defect]:
    """What is known to be wrong with those of benchmark ``name`` that are among ``questions``."""
    there = {question.id for question in questions}
    return [defect for defect in benchmarks.defects(name) if defect.question_id in there]


def counted(name: str, questions: Sequence[Question]) -> dict[str, int]:
    """How many of ``questions`` have each kind of defect that benchmark ``name`` is known to have, 0 included."""
    among = Counter(defect.kind for defect in defects_among(name, questions))
    return {kind: among[kind] for kind in dict.fromkeys(defect.kind for defect in benchmarks.defects(name))}
