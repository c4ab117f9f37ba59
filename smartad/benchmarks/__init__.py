"""Benchmarks and training sets, one module each.

A module has ``SOURCE`` (the raw file it reads, or None when its questions are generated) and
``load(path: Path | None) -> list[Question]``.  To add one, write ``smartad/benchmarks/<name>.py``; nothing else lists it.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from smartad.types import Question, UserError


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
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def get(name: str) -> Benchmark:
    """The module of benchmark ``name``.  Raises UserError naming the others when there is none."""
    if name not in names():
        raise UserError(f"no benchmark {name!r}; there are {', '.join(names())}. "
                        f"To add one, write smartad/benchmarks/{name}.py")
    return cast(Benchmark, importlib.import_module(f"{__name__}.{name}"))
