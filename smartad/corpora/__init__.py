"""Corpora to retrieve from, one module each: ``SOURCE`` as in benchmarks, and ``load(path)``, which returns its passages.

One that is large may return ``engines.retrieval.passages.Lines``, whose passages stay where they are.  One whose vectors were
published says in ``PUBLISHED`` where their flat FAISS index is below the data folder; what can be had from the model hub is in
``DOWNLOADS``.  To add one, write ``smartad/corpora/<name>.py``; nothing else lists it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from smartad import plugins
from smartad.benchmarks import Source
from smartad.types import Passage

if TYPE_CHECKING:
    from smartad.engines.retrieval.passages import Lines


@dataclass(frozen=True)
class Download:
    """A file of the data folder, and of which files of a data set on the model hub it is made."""

    file: str
    """Path below the data folder."""
    dataset: str
    parts: tuple[str, ...]
    """Put together in this order; one that ends in ``.gz`` is unpacked."""


class Corpus(Protocol):
    """What a corpus module offers."""

    SOURCE: Source | None

    def load(self, path: Path | None) -> "Sequence[Passage] | Lines":
        """Every passage.  ``path``: the raw file, None when ``SOURCE`` is."""


def names() -> list[str]:
    """The corpora there are."""
    return plugins.names(__name__)


def get(name: str) -> Corpus:
    """The module of corpus ``name``.  Raises UserError naming the others when there is none."""
    return cast(Corpus, plugins.get(__name__, "corpus", name))


def published(name: str) -> str | None:
    """The flat FAISS index of corpus ``name`` that was published with it, below the data folder; None where there is none."""
    return getattr(get(name), "PUBLISHED", None)


def downloads(name: str) -> tuple[Download, ...]:
    """What of corpus ``name`` the model hub has."""
    return getattr(get(name), "DOWNLOADS", ())
