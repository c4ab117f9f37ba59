"""Dense retrieval: passages as vectors, and the nearest ones to a query's."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smartad.engines.retrieval import vectors
from smartad.engines.retrieval.embedding import Embedder
from smartad.engines.retrieval.passages import Passages, found
from smartad.engines.retrieval.recipe import Embedding, Vectors
from smartad.records import from_json, read_json, to_json, write_json
from smartad.stage import Metrics, Runtime
from smartad.types import Passage, UserError

RECIPE = "dense.json"
INDEX = "vectors.faiss"
UNFINISHED = "vectors.f32"
"""The vectors so far, rows of float32, while passages are embedded."""
CHUNK = 512
"""Passages embedded between two writes: what a kill can cost."""
ASKED, SEED = 1000, 0
"""Queries by which an index is compared with a flat one: first sentences of passages."""
DEPTHS = (1, 3, 10)
CHECKED = 8
"""Passages by which a published index is told to be of this corpus and model."""
ALIKE = 0.99
"""Cosine; half precision, in which it may have been made, moves it by 0.001."""


def build(passages: Passages, embedding: Embedding, recipe: Vectors, out: Path, runtime: Runtime, flat: Path | None,
          published: str | None) -> Metrics:
    """Write the index of ``passages`` into ``out``.

    Their vectors are taken from ``flat``, a folder with a flat index of them, or from ``published``, such an index below the
    data folder, which is left where it is if a flat one is wanted; without either they are embedded.
    Metrics: ``dimensions``, ``mb``; of an index made from a flat one ``recall@k``, of the k nearest passages to
    ``recall_queries`` queries, and of ivfpq ``lists``.  Raises UserError when a published index is not of these passages.
    """
    vectors.use_threads(runtime.threads)
    embedder = Embedder(embedding, runtime.models, runtime.gpus, runtime.threads)
    about: dict[str, Any] = {"embedding": to_json(embedding), "vectors": to_json(recipe)}
    metrics: Metrics = {}
    path = out / INDEX
    there = _published(published, passages, embedder, runtime) if published is not None and flat is None else None
    if there is not None and recipe.kind == "flat":
        path = there
        about["place"] = {"file": published, "bytes": path.stat().st_size}
    elif there is not None:
        metrics = _approximate(passages, embedder, recipe, vectors.read(there, "flat"), path, runtime)
    elif flat is not None:
        metrics = _approximate(passages, embedder, recipe, _open(flat, runtime)[2], path, runtime)
    else:
        _embed(passages, embedder, recipe, path, runtime)
    write_json(out / RECIPE, about)
    return {"dimensions": embedder.dimensions, "mb": round(path.stat().st_size / 1e6, 3), **metrics}


class Retriever:
    """An index and the model for its queries.  Threads must not share it; ``front.Front`` stands before it."""

    def __init__(self, passages: Passages, embedder: Embedder, index: Any, threads: int = 1) -> None:
        self.passages, self._embedder, self._index, self._threads = passages, embedder, index, threads

    def search_all(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query the ``k`` passages nearest to it, nearest first."""
        vectors.use_threads(self._threads)
        _, rows = self._index.search(self._embedder.queries(queries), min(k, len(self.passages)))
        return [[self.passages[i] for i in row if i >= 0] for row in rows.tolist()]  # -1: ivfpq's probes hold too few


def load(folder: Path, passages: Passages, runtime: Runtime) -> Retriever:
    """What :func:`build` wrote.  Raises UserError when it is not whole, or its model or published file is not here."""
    embedding, recipe, index = _open(folder, runtime)
    embedder = Embedder(embedding, runtime.models, runtime.gpus, runtime.threads)
    if (index.ntotal, index.d) != (len(passages), embedder.dimensions):
        raise UserError(f"{folder} holds {index.ntotal} vectors of {index.d} dimensions for {len(passages)} passages and a model "
                        f"of {embedder.dimensions}: it is not whole")
    vectors.set_search(index, recipe)
    return Retriever(passages, embedder, vectors.on_gpus(index, runtime.gpus), runtime.threads)


def _open(folder: Path, runtime: Runtime) -> tuple[Embedding, Vectors, Any]:
    about = read_json(folder / RECIPE)
    if about is None:
        raise UserError(f"{folder} holds no whole dense index: no {RECIPE}")
    path = found(about["place"], runtime.data) if "place" in about else folder / INDEX
    recipe: Vectors = from_json(Vectors, about["vectors"])
    return from_json(Embedding, about["embedding"]), recipe, vectors.read(path, recipe.kind)


def _approximate(passages: Passages, embedder: Embedder, recipe: Vectors, flat: Any, path: Path, runtime: Runtime) -> Metrics:
    """Write another index of what is in ``flat``, and compare the two."""
    index = vectors.make(recipe, vectors.piece_of(flat), len(passages), flat.d, runtime.progress)
    vectors.write(index, path)
    asked = embedder.queries(_questions(passages))
    shares = {f"recall@{k}": round(vectors.recall(index, flat, asked, k), 4) for k in DEPTHS if k <= len(passages)}
    return {**shares, "recall_queries": len(asked), **({"lists": index.nlist} if recipe.kind == "ivfpq" else {})}


def _embed(passages: Passages, embedder: Embedder, recipe: Vectors, path: Path, runtime: Runtime) -> None:
    """Write an index of what ``embedder`` makes of ``passages``."""
    unfinished, size = path.with_name(UNFINISHED), (len(passages), embedder.dimensions)
    if not path.exists():
        embed(passages, embedder, unfinished, runtime.progress)
        rows = np.memmap(unfinished, np.float32, "r", shape=size)
        vectors.write(vectors.make(recipe, lambda a, b: np.ascontiguousarray(rows[a:b]), *size, runtime.progress), path)
    unfinished.unlink(missing_ok=True)


def embed(passages: Passages, embedder: Embedder, path: Path, progress: Callable[[int, int], None]) -> None:
    """Write every passage's vector to ``path``, from where an earlier attempt was cut off."""
    row = 4 * embedder.dimensions
    done = path.stat().st_size // row if path.exists() else 0
    if done < len(passages):
        done -= done % CHUNK
    with path.open("ab") as file:
        file.truncate(done * row)
        for start in range(done, len(passages), CHUNK):
            end = min(start + CHUNK, len(passages))
            file.write(embedder.passages([passages[i] for i in range(start, end)]).tobytes())
            file.flush()
            progress(end, len(passages))
        os.fsync(file.fileno())


def _published(file: str, passages: Passages, embedder: Embedder, runtime: Runtime) -> Path:
    """Where it is, if it is of these passages by this model: their number, and the vectors of a few of them."""
    path = runtime.data / file if runtime.data else None
    if path is None or not path.is_file():
        raise UserError(f"the published index {file} is not {f'in {runtime.data}' if runtime.data else 'here'}; say which folder "
                        "holds it with data=FOLDER, or set retrieval.embedding.published=false to embed the passages anew")
    index = vectors.read(path, "flat")
    if (index.ntotal, index.d) != (len(passages), embedder.dimensions):
        raise UserError(f"{path} holds {index.ntotal} vectors of {index.d} dimensions, and there are {len(passages)} passages "
                        f"and a model of {embedder.dimensions}: it was published with another corpus or model")
    rows = [int(row) for row in np.linspace(0, len(passages) - 1, min(CHECKED, len(passages)))]
    ours = embedder.passages([passages[row] for row in rows])
    for row, vector in zip(rows, ours, strict=True):
        if (cosine := float(index.reconstruct(row) @ vector)) < ALIKE:
            raise UserError(f"{path}: the vector of passage {passages[row].id} has cosine {cosine:.3f} with the model's own: the "
                            "index is of another corpus or model; set retrieval.embedding.published=false to embed them anew")
    return path


def _questions(passages: Passages) -> list[str]:
    chosen = np.random.default_rng(SEED).choice(len(passages), min(ASKED, len(passages)), replace=False)
    return [passages[int(i)].text.split(". ")[0] for i in np.sort(chosen)]
