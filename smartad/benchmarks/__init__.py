"""Benchmarks and training sets, one module each.

A module has ``SOURCE`` (the raw file it reads, or None when its questions are generated) and
``load(path: Path | None) -> list[Question]``.  To add one, write ``smartad/benchmarks/<name>.py``; nothing else lists it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from smartad import plugins
from smartad.types import Question


@dataclass(frozen=True)
class Source:
    """A raw file, pinned by content."""

    file: str
    """Path below the data folder."""
    sha256: str


class Benchmark(Protocol):
    """What a benchmark module offers."""

    SOURCE: Source | None

    def load(self, path: Path | None) -> list[Question]:
        """Every question, in the file's order.  ``path``: the raw file, None when ``SOURCE`` is."""


def names() -> list[str]:
    """The benchmarks there are."""
    return plugins.names(__name__)


def get(name: str) -> Benchmark:
    """The module of benchmark ``name``.  Raises UserError naming the others when there is none."""
    return cast(Benchmark, plugins.get(__name__, "benchmark", name))
