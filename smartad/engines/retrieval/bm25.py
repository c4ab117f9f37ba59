"""Lexical retrieval: BM25 over words, in memory."""

import logging
from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np

from smartad.engines.retrieval.passages import Passages
from smartad.engines.retrieval.recipe import Bm25
from smartad.types import Passage

INDEX = "bm25"


def build(passages: Passages, recipe: Bm25, out: Path) -> None:
    """Write the index of ``passages``, their titles and texts, into ``out``."""
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it talks at every level, to a handler of its own
    index = bm25s.BM25(k1=recipe.k1, b=recipe.b, backend="numpy")
    index.index(_words([f"{p.title} {p.text}" for p in passages]), show_progress=False)
    index.save(out / INDEX)


class Retriever:
    """An index in memory.  Searching does not change it, so threads may share one."""

    def __init__(self, index: bm25s.BM25, passages: Passages) -> None:
        self.passages = passages
        self._index = index

    def search(self, query: str, k: int) -> list[Passage]:
        """The ``k`` passages that fit best, best first, equals in the corpus' order; only those that share a word."""
        known = [word for word in _words([query])[0] if word in self._index.vocab_dict]
        if not known:
            return []
        scores = self._index.get_scores(known)
        best = np.argsort(-scores, kind="stable")[:k]
        return [self.passages[int(i)] for i in best if scores[i] > 0]

    def search_all(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """:meth:`search` for each of ``queries``."""
        return [self.search(query, k) for query in queries]


def load(folder: Path, passages: Passages) -> Retriever:
    """The index that :func:`build` wrote into ``folder``.  Raises OSError or ValueError when it is not there or not whole."""
    return Retriever(bm25s.BM25.load(folder / INDEX, load_vocab=True), passages)


def _words(texts: list[str]) -> list[list[str]]:
    """Lower-case words of two letters or more, digits included; English function words left out."""
    return bm25s.tokenize(texts, stopwords="en", return_ids=False, show_progress=False)
