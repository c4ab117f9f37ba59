"""Corpora to retrieve from, one module each: ``SOURCE`` as in benchmarks, and ``load(path) -> list[Passage]``.

To add one, write ``smartad/corpora/<name>.py``; nothing else lists it.
"""

from pathlib import Path
from typing import Protocol, cast

from smartad import plugins
from smartad.benchmarks import Source
from smartad.types import Passage


class Corpus(Protocol):
    """What a corpus module offers."""

    SOURCE: Source | None

    def load(self, path: Path | None) -> list[Passage]:
        """Every passage.  ``path``: the raw file, None when ``SOURCE`` is."""


def names() -> list[str]:
    """The corpora there are."""
    return plugins.names(__name__)


def get(name: str) -> Corpus:
    """The module of corpus ``name``.  Raises UserError naming the others when there is none."""
    return cast(Corpus, plugins.get(__name__, "corpus", name))
