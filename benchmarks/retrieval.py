"""Searches of many episodes beside searches one by one, in a flat index: the same model, vectors, queries and thread count.

The index holds random vectors of e5-base-v2's length, and queries are embedded by a BERT of its shape with random weights: what
is found means nothing, what it costs does.  Every query is asked --asked times, as different episodes do.  Wall clock, arms in
turns, the least of some rounds; that all arms find the same passages is checked first.

  python benchmarks/retrieval.py [--vectors 200000] [--queries 200] [--asked 2] [--episodes 64] [--threads 1] [--rounds 2]
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from smartad.engines.retrieval import vectors
from smartad.engines.retrieval.dense import Retriever
from smartad.engines.retrieval.embedding import Embedder
from smartad.engines.retrieval.front import Front
from smartad.engines.retrieval.recipe import Embedding
from smartad.models import identify
from smartad.types import Passage

E5 = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
WORDS, LENGTH = 5000, 14
"""Words there are, and words of a query: about as many tokens as a question has."""
K = 3
Found = list[list[str]]


class Numbered:
    """As many passages as there are vectors, made when they are looked at."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Passage:
        return Passage(str(index), "", "")


def retriever(shape: dict[str, int], count: int, folder: Path, threads: int) -> Retriever:
    """A flat index of ``count`` random vectors, and an embedder of ``shape``."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ":", "query", *(f"w{i}" for i in range(WORDS))]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    # Wider than it is initialised for training: else all texts have nearly the same vector, and rounding decides.
    BertModel(BertConfig(vocab_size=len(words), initializer_range=0.2, **shape)).save_pretrained(folder)
    chance, width = np.random.default_rng(0), shape["hidden_size"]
    index = faiss.IndexFlatIP(width)
    for start in range(0, count, vectors.PIECE):
        rows = chance.standard_normal((min(vectors.PIECE, count - start), width), dtype=np.float32)
        index.add(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    identity = identify(str(folder))
    embedder = Embedder(Embedding(identity), {identity: str(folder)}, threads=threads)
    return Retriever(Numbered(count), embedder, index, threads)


def one_by_one(searcher: Retriever, asked: Sequence[str]) -> Found:
    """Each search when it is its turn, as an agent's tool that knows of no other."""
    return [[p.id for p in searcher.search_all([query], K)[0]] for query in asked]


def together(searcher: Retriever, asked: Sequence[str], episodes: int, remembered: int | None = None) -> Found:
    """So many episodes at once, each waiting for its answer.  ``remembered``: 0 is no cache; None is as it comes."""
    front = Front(searcher) if remembered is None else Front(searcher, remembered)
    with ThreadPoolExecutor(episodes) as threads:
        return [[p.id for p in found] for found in threads.map(lambda query: front.search(query, K), asked)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--asked", type=int, default=2)
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="a tiny model, to see whether it runs")
    args = parser.parse_args()
    chance = random.Random(0)
    queries = [" ".join(f"w{chance.randrange(WORDS)}" for _ in range(LENGTH)) for _ in range(args.queries)]
    asked = queries * args.asked
    chance.shuffle(asked)
    with tempfile.TemporaryDirectory() as folder:
        searcher = retriever(TINY if args.tiny else E5, args.vectors, Path(folder), args.threads)
        arms: dict[str, Callable[[], Found]] = {
            "one by one": lambda: one_by_one(searcher, asked),
            "in batches": lambda: together(searcher, asked, args.episodes, 0),
            "in batches, with the cache": lambda: together(searcher, asked, args.episodes)}
        found: dict[str, Found] = {}
        seconds = dict.fromkeys(arms, float("inf"))
        for _ in range(args.rounds):
            for name, arm in arms.items():
                began = time.perf_counter()
                found[name] = arm()
                seconds[name] = min(seconds[name], time.perf_counter() - began)
    for name in arms:
        same = sum(a == b for a, b in zip(found[name], found["one by one"], strict=True))
        assert same == len(asked), f"{name}: other passages than one by one for {len(asked) - same} of {len(asked)} searches"
    print(f"{args.vectors:,} vectors, {len(asked)} searches of {args.queries} queries, {args.episodes} episodes at once, "
          f"{args.threads} thread(s), load {os.getloadavg()[0]:.1f}; the same passages {len(asked)} of {len(asked)} times\n")
    print("| | seconds | searches/s | faster |\n| --- | --- | --- | --- |")
    for name, took in seconds.items():
        print(f"| {name} | {took:.2f} | {len(asked) / took:.1f} | {seconds['one by one'] / took:.1f}x |")


if __name__ == "__main__":
    main()
