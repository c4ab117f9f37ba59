"""Benchmarks and training sets, one module each.

A module has ``SOURCE`` (the raw file it reads, or None when its questions are generated), ``KIND`` (who can grade it) and
``load(path: Path | None) -> list[Question]``; one that generates them may have a ``LICENCE``.  To add one, write
``smartad/benchmarks/<name>.py``; nothing else lists it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from smartad import plugins
from smartad.types import Kind, Question


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


class Benchmark(Protocol):
    """What a benchmark module offers."""

    SOURCE: Source | None
    KIND: Kind

    def load(self, path: Path | None) -> list[Question]:
        """Every question, in the file's order.  ``path``: the raw file, None when ``SOURCE`` is."""


class _Sourced(Protocol):
    SOURCE: Source | None


def licence(module: _Sourced) -> str | None:
    """Of a benchmark's questions or a corpus' passages; ``LICENCE`` is that of generated ones.  None: not known."""
    return module.SOURCE.licence if module.SOURCE else getattr(module, "LICENCE", None)


def names() -> list[str]:
    """The benchmarks there are."""
    return plugins.names(__name__)


def get(name: str) -> Benchmark:
    """The module of benchmark ``name``.  Raises UserError naming the others when there is none."""
    return cast(Benchmark, plugins.get(__name__, "benchmark", name))
