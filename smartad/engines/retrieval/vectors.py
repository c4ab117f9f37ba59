"""Indices over vectors, with FAISS: made of many vectors in pieces, kept in a file, and read through a memory map."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from smartad.engines.retrieval.recipe import Kind, Vectors
from smartad.types import UserError

try:
    import faiss
except ImportError as absent:
    raise UserError(f"dense retrieval needs FAISS ({absent}): pip install 'smartad[retrieval]'") from absent

# From so many queries on, a flat index multiplies matrices instead of reading itself once for each query: with 8 queries twice as
# fast, with 64 eight times.  faiss-cpu 1.15 begins above 64 by itself.
faiss.cvar.distance_compute_blas_threshold = 4
PIECE = 1 << 16
"""Vectors added at once."""
TRAINED_ON = 1 << 16
"""Vectors that clusters and codes are learned from at the least, if there are so many."""
PER_LIST = 64
"""Of these for each cluster; FAISS warns below 39."""
CENTROIDS = 256
"""Of each byte of a code."""
Piece = Callable[[int, int], np.ndarray]
"""Vectors from one number up to another: float32 (vectors, dimensions)."""


def make(recipe: Vectors, piece: Piece, count: int, dimensions: int, progress: Callable[[int, int], None]) -> Any:
    """The index of ``count`` vectors.  Raises UserError when they are too few for it, or too short."""
    index: Any = faiss.index_factory(dimensions, _factory(recipe, count, dimensions), faiss.METRIC_INNER_PRODUCT)
    if recipe.kind == "hnsw":
        index.hnsw.efConstruction = recipe.construction
    if not index.is_trained:
        index.train(_sample(piece, count, max(TRAINED_ON, PER_LIST * lists_of(recipe, count))))
    for start in range(0, count, PIECE):
        index.add(piece(start, min(start + PIECE, count)))
        progress(min(start + PIECE, count), count)
    set_search(index, recipe)
    return index


def lists_of(recipe: Vectors, count: int) -> int:
    """Clusters of an ivfpq index."""
    return recipe.lists or max(1, 2 ** round(np.log2(4 * np.sqrt(count))))


def set_search(index: Any, recipe: Vectors) -> None:
    """How much of it a search looks at."""
    if recipe.kind == "ivfpq":
        index.nprobe = min(recipe.probes or 1, index.nlist)
    if recipe.kind == "hnsw":
        index.hnsw.efSearch = recipe.beam


def write(index: Any, path: Path) -> None:
    """All of it or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    faiss.write_index(index, str(temporary))
    os.replace(temporary, path)


def read(path: Path, kind: Kind) -> Any:
    """An index, mapped into memory.  Raises UserError when it is none, or not whole."""
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP if kind == "ivfpq" else faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise UserError(f"{path} is not a whole FAISS index: {str(error).strip().splitlines()[-1]}") from error


def piece_of(index: Any) -> Piece:
    """The vectors that a flat index is made of."""
    return lambda start, end: index.reconstruct_n(start, end - start)


def on_gpus(index: Any, gpus: int) -> Any:
    """``index`` on the GPUs, shared out, where FAISS was built for them and has its kind; itself otherwise."""
    if not gpus or not hasattr(faiss, "StandardGpuResources") or isinstance(index, faiss.IndexHNSW):
        return index
    options = faiss.GpuMultipleClonerOptions()
    options.shard = True
    return faiss.index_cpu_to_all_gpus(index, options, min(gpus, faiss.get_num_gpus()))


def use_threads(threads: int) -> None:
    """FAISS takes every core otherwise, whatever torch was told.  It holds for the calling thread (OpenMP)."""
    faiss.omp_set_num_threads(threads)


def recall(index: Any, flat: Any, queries: np.ndarray, k: int) -> float:
    """The share of the ``k`` nearest by ``flat`` that are among the ``k`` of ``index``."""
    _, exact = flat.search(queries, k)
    _, other = index.search(queries, k)
    return float(np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(exact.tolist(), other.tolist(), strict=True)]))


def _factory(recipe: Vectors, count: int, dimensions: int) -> str:
    if recipe.kind != "ivfpq":
        return {"flat": "Flat", "fp16": "SQfp16", "sq8": "SQ8", "hnsw": f"HNSW{recipe.neighbours},Flat"}[recipe.kind]
    lists, code = lists_of(recipe, count), recipe.code_bytes or 1
    if dimensions % code:
        raise UserError(f"retrieval.vectors.code_bytes={code} must divide the {dimensions} dimensions of the embedding model")
    if count < max(CENTROIDS, lists):
        raise UserError(f"retrieval.vectors.kind=ivfpq with lists={lists} needs {max(CENTROIDS, lists)} passages to learn its "
                        f"clusters and codes from, and there are {count}; use kind=flat")
    return f"IVF{lists},PQ{code}x8"


def _sample(piece: Piece, count: int, most: int) -> np.ndarray:
    """Of so many passages that they must be read in pieces."""
    chosen = np.sort(np.random.default_rng(0).choice(count, min(count, most), replace=False))
    parts = []
    for start in range(0, count, PIECE):
        end = min(start + PIECE, count)
        inside = chosen[np.searchsorted(chosen, start):np.searchsorted(chosen, end)]
        if len(inside):
            parts.append(piece(start, end)[inside - start])
    return np.concatenate(parts)
