"""Index: a corpus to a folder one can search."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smartad import corpora
from smartad.stage import Metrics, Runtime, Stage
from smartad.stages.prepare import pinned


@dataclass(frozen=True)
class IndexConfig:
    """Which passages, and how they are found."""

    corpus: str
    sha256: str | None = None
    """Of the raw file; ``plan`` copies it from the corpus' SOURCE.  None: generated."""
    method: Literal["bm25"] = "bm25"

    def __post_init__(self) -> None:
        corpora.get(self.corpus)


def run(config: IndexConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """No inputs.  Writes the index and its passages (engines.retrieval)."""
    from smartad.engines import retrieval

    module = corpora.get(config.corpus)
    passages = module.load(pinned(module.SOURCE, config.sha256, runtime.data))
    retrieval.build(passages, out)
    return {"passages": len(passages)}


INDEX = Stage("index", version=1, run=run)
