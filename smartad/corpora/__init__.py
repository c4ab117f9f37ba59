"""Corpora to retrieve from, one module each: ``SOURCE`` as in benchmarks, and ``load(path) -> list[Passage]``.

To add one, write ``smartad/corpora/<name>.py``; nothing else lists it.
"""

import importlib
import pkgutil
from pathlib import Path
from typing import Protocol, cast

from smartad.benchmarks import Source
from smartad.types import Passage, UserError


class Corpus(Protocol):
    """What a corpus module offers."""

    SOURCE: Source | None

    def load(self, path: Path | None) -> list[Passage]:
        """Every passage.  ``path``: the raw file, None when ``SOURCE`` is."""


def names() -> list[str]:
    """The corpora there are."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def get(name: str) -> Corpus:
    """The module of corpus ``name``.  Raises UserError naming the others when there is none."""
    if name not in names():
        raise UserError(f"no corpus {name!r}; there are {', '.join(names())}. "
                        f"To add one, write smartad/corpora/{name}.py")
    return cast(Corpus, importlib.import_module(f"{__name__}.{name}"))
