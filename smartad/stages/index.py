"""Index: a corpus to a folder one can search."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smartad import corpora, models
from smartad.data.files import pinned
from smartad.engines.retrieval.recipe import Bm25, Embedding, Retrieval, Vectors, decisive
from smartad.stage import Metrics, Runtime, Stage, StageSpec
from smartad.types import UserError

__all__ = ["INDEX", "IndexConfig", "Retrieval", "files_of", "indexed", "run"]


@dataclass(frozen=True)
class IndexConfig:
    """Which passages, and how they are found."""

    corpus: str
    sha256: str | None = None
    """Of the raw file; ``plan`` copies it from the corpus' SOURCE.  None: generated, or not known."""
    method: Literal["bm25", "dense"] = "bm25"
    bm25: Bm25 | None = None
    """None is as it comes."""
    embedding: Embedding | None = None
    """For dense, and so is ``vectors``."""
    vectors: Vectors | None = None

    def __post_init__(self) -> None:
        corpora.get(self.corpus)


def indexed(corpus: str, retrieval: Retrieval) -> StageSpec:
    """The index of ``corpus``.  One that only approximates is made of the flat one, and compared with it.

    Raises UserError when there are no published vectors of ``corpus``, and when its content is said to be another than known.
    """
    source = corpora.get(corpus).SOURCE
    known = source.sha256 if source else None
    if retrieval.sha256 is not None and (source is None or known not in (None, retrieval.sha256)):
        raise UserError(f"retrieval.sha256={retrieval.sha256}: the content of {corpus} is "
                        f"{f'pinned to {known}' if known else 'generated'}; leave it out")
    sha256 = known or retrieval.sha256
    if retrieval.method == "bm25":
        return StageSpec(INDEX, IndexConfig(corpus, sha256, bm25=None if retrieval.bm25 == Bm25() else retrieval.bm25))
    if retrieval.embedding.published and corpora.published(corpus) is None:
        having = ", ".join(name for name in corpora.names() if corpora.published(name))
        raise UserError(f"retrieval.embedding.published: there are no published vectors of {corpus}, only of {having}")
    embedding = dataclasses.replace(retrieval.embedding, model=models.identify(retrieval.embedding.model))
    flat = StageSpec(INDEX, IndexConfig(corpus, sha256, "dense", None, embedding, decisive(Vectors())))
    if retrieval.vectors.kind == "flat":
        return flat
    return StageSpec(INDEX, dataclasses.replace(flat.config, vectors=decisive(retrieval.vectors)), {"flat": flat})


def files_of(config: IndexConfig) -> list[str]:
    """What it reads of the data folder."""
    source = corpora.get(config.corpus).SOURCE
    published = corpora.published(config.corpus) if config.embedding and config.embedding.published else None
    return [file for file in (source.file if source else None, published) if file]


def run(config: IndexConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """Input flat, for an index that approximates it.  Writes the index, and its passages or where they are (engines.retrieval).

    Metrics: ``passages``, and of a dense one those of ``dense.build``.
    """
    from smartad.engines import retrieval

    module = corpora.get(config.corpus)
    passages = module.load(pinned(module.SOURCE, config.sha256, runtime.data))
    file = module.SOURCE.file if module.SOURCE else None
    if config.embedding is None or config.vectors is None:
        return retrieval.build(passages, out, config.bm25, source=file)
    published = corpora.published(config.corpus) if config.embedding.published else None
    return retrieval.build(passages, out, (config.embedding, config.vectors), runtime, file, inputs.get("flat"), published)


INDEX = Stage("index", version=1, run=run)
