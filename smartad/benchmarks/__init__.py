"""Benchmarks and training sets, one module each.

A module has ``SOURCE`` (the raw file it reads, or None when its questions are generated), ``KIND`` (who can grade it) and
``load(path: Path | None) -> list[Question]``; one that generates them may have a ``LICENCE``.  What is known to be wrong with
the file is in ``DEFECTS``.  Where the source names a ``hub``, ``from_hub(row)`` makes a question of one of its rows.  To add one,
write ``smartad/benchmarks/<name>.py``; nothing else lists it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from smartad import plugins
from smartad.types import Kind, Question, UserError

DefectKind = Literal["empty_gold", "leaked_answer", "leading_zeros", "float_noise", "wrong_gold", "corrected_upstream",
                     "duplicate", "also_in_amc23", "malformed_id"]


@dataclass(frozen=True)
class Git:
    """Where a file is on GitHub, at a commit that stays as it is."""

    repository: str
    commit: str
    path: str


@dataclass(frozen=True)
class Hub:
    """Where a benchmark's rows are on the model hub, among others and in another form."""

    dataset: str
    files: tuple[str, ...]
    """JSON lines, or Parquet."""
    columns: tuple[str, ...]
    """Those that are read."""
    revision: str | None = None
    """The commit that was looked at; None: not known, so whatever is there now."""


@dataclass(frozen=True)
class Source:
    """A raw file, pinned by content."""

    file: str
    """Path below the data folder."""
    sha256: str | None
    """None: not known to smartad."""
    licence: str | None = None
    """As the model hub spells it (``cc-by-4.0``), where its owner names one; None: not known."""
    dataset: str | None = None
    """Its id on the model hub; None when it is not there, or not known to be."""
    github: Git | None = None
    """Where this very file is; None: not known."""
    hub: Hub | None = None
    """Where the same rows are; None: not known."""
    rights: str | None = None
    """Whose text it is, where that is somebody who gave no licence; None: who named the licence could."""


@dataclass(frozen=True)
class Defect:
    """What is known to be wrong with one question as its file has it."""

    question_id: str
    kind: DefectKind
    why: str
    """How it is known, and from where a correction is."""
    was: tuple[str, ...] = ()
    """The accepted answers of the file; looked at only where ``answers`` corrects them."""
    answers: tuple[str, ...] | None = None
    """The right ones; None leaves the file's."""
    cut: str = ""
    """The end of the question's text that does not belong to it."""


class Benchmark(Protocol):
    """What a benchmark module offers."""

    SOURCE: Source | None
    KIND: Kind

    def load(self, path: Path | None) -> list[Question]:
        """Every question, in the file's order.  ``path``: the raw file, None when ``SOURCE`` is."""


class FromHub(Protocol):
    """What a benchmark module besides offers whose source names a hub."""

    def from_hub(self, row: Mapping[str, Any]) -> Question:
        """A row of the hub's files; its id is only the benchmark's, ``aime/``, where the row has none of its own."""


class _Sourced(Protocol):
    SOURCE: Source | None


def licence(module: _Sourced) -> str | None:
    """Of a benchmark's questions or a corpus' passages; ``LICENCE`` is that of generated ones.  None: not known."""
    return module.SOURCE.licence if module.SOURCE else getattr(module, "LICENCE", None)


def defects(name: str) -> tuple[Defect, ...]:
    """What is known to be wrong with the questions of benchmark ``name``."""
    return getattr(get(name), "DEFECTS", ())


def corrected(name: str, questions: Sequence[Question]) -> list[Question]:
    """``questions`` of benchmark ``name`` with every correction that is known: in the file's order, none left out.

    Raises UserError when a question is not as its correction expects it.
    """
    known: dict[str, list[Defect]] = {}
    for defect in defects(name):
        known.setdefault(defect.question_id, []).append(defect)
    return [_corrected(question, known.get(question.id, ())) for question in questions]


def _corrected(question: Question, known: Sequence[Defect]) -> Question:
    for defect in known:
        if defect.answers is not None:
            if question.answers != defect.was:
                raise UserError(f"{question.id} was to be corrected from {defect.was} to {defect.answers}, and has "
                                f"{question.answers}; mend its entry in DEFECTS")
            question = dataclasses.replace(question, answers=defect.answers)
        if defect.cut:
            if not question.text.endswith(defect.cut):
                raise UserError(f"{question.id} was to lose {defect.cut!r} at its end, and does not end so; mend its entry "
                                "in DEFECTS")
            question = dataclasses.replace(question, text=question.text.removesuffix(defect.cut).rstrip())
    return question


def names() -> list[str]:
    """The benchmarks there are."""
    return plugins.names(__name__)


def get(name: str) -> Benchmark:
    """The module of benchmark ``name``.  Raises UserError naming the others when there is none."""
    return cast(Benchmark, plugins.get(__name__, "benchmark", name))
