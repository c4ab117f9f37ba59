"""Lexical retrieval (BM25) over a folder that holds an index and its passages."""

import logging
from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np

from smartad.records import RecordError, read_jsonl, write_jsonl
from smartad.types import Passage, UserError

PASSAGES = "passages.jsonl"
INDEX = "bm25"
K1, B = 0.9, 0.4
"""Anserini's setting for short passages; with more length normalisation a shorter one about the same thing wins."""


def build(passages: Sequence[Passage], out: Path) -> None:
    """Write the index of ``passages`` (their titles and texts) and the passages themselves into ``out``.

    Raises UserError when there are none.
    """
    if not passages:
        raise UserError("there are no passages to index")
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it talks at every level, to a handler of its own
    index = bm25s.BM25(k1=K1, b=B, backend="numpy")
    index.index(_words([f"{p.title} {p.text}" for p in passages]), show_progress=False)
    index.save(out / INDEX)
    write_jsonl(out / PASSAGES, passages)


class Retriever:
    """An index in memory.  Searching does not change it, so threads may share one."""

    def __init__(self, index: bm25s.BM25, passages: Sequence[Passage]) -> None:
        self.passages = list(passages)
        self._index = index

    def search(self, query: str, k: int) -> list[Passage]:
        """The ``k`` passages that fit best, best first, equals in the corpus' order; only those that share a word."""
        known = [word for word in _words([query])[0] if word in self._index.vocab_dict]
        if not known:
            return []
        scores = self._index.get_scores(known)
        best = np.argsort(-scores, kind="stable")[:k]
        return [self.passages[i] for i in best if scores[i] > 0]


def load(folder: Path) -> Retriever:
    """The index that :func:`build` wrote into ``folder``.  Raises UserError when it is not there or not whole."""
    try:
        index = bm25s.BM25.load(folder / INDEX, load_vocab=True)
        passages = list(read_jsonl(folder / PASSAGES, Passage))
    except (OSError, ValueError, RecordError) as error:
        raise UserError(f"{folder} holds no whole retrieval index: {error}") from error
    return Retriever(index, passages)


def render(passages: Sequence[Passage]) -> str:
    """Search results as a model reads them: one line each, its title first if it has one."""
    if not passages:
        return "No passage fits."
    return "\n".join(f"{p.title}: {p.text}" if p.title else p.text for p in passages)


def _words(texts: list[str]) -> list[list[str]]:
    """Lower-case words of two letters or more, digits included; English function words left out."""
    return bm25s.tokenize(texts, stopwords="en", return_ids=False, show_progress=False)
