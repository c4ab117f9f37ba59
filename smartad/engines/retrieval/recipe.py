"""How passages are found.  Free of the libraries that do it, so that a stage's config can be one."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from smartad.types import UserError

Kind = Literal["flat", "fp16", "sq8", "ivfpq", "hnsw"]
USES: dict[Kind, tuple[str, ...]] = {"flat": (), "fp16": (), "sq8": (), "ivfpq": ("lists", "probes", "code_bytes"),
                                     "hnsw": ("neighbours", "construction", "beam")}
"""What of Vectors a kind of index depends on."""


@dataclass(frozen=True)
class Bm25:
    """Okapi BM25.  Defaults are Anserini's for short passages; with more length normalisation a shorter one about the same thing
    wins."""

    k1: float = 0.9
    b: float = 0.4

    def __post_init__(self) -> None:
        if not 0 <= self.k1 < float("inf") or not 0 <= self.b <= 1:
            raise UserError(f"retrieval.bm25: k1={self.k1} must be a finite number of at least 0, and b={self.b} from 0 to 1")


@dataclass(frozen=True)
class Embedding:
    """What turns texts into vectors of length 1: mean pooling over a model's last layer.  Defaults are the papers'."""

    model: str = "intfloat/e5-base-v2"
    """A folder, or a hub id with an optional @revision."""
    query: str = "query: "
    """What queries begin with; the e5 models were trained with these words."""
    passage: str = "passage: "
    max_tokens: int = 256
    """Prefix and special tokens included; what is longer is cut off at its end, as in Search-R1."""
    published: bool = False
    """Take the passages' vectors from the index that was published with the corpus, and embed only queries."""

    def __post_init__(self) -> None:
        if self.max_tokens < 8:
            raise UserError(f"retrieval.embedding.max_tokens must be at least 8, got {self.max_tokens}")


@dataclass(frozen=True)
class Vectors:
    """The FAISS index over the passages' vectors, by inner product."""

    kind: Kind = "flat"
    """flat finds the nearest vectors for certain.  fp16 and sq8 look at all of them too, at a half and a quarter of the memory;
    ivfpq looks at ``probes`` of ``lists`` clusters, in ``code_bytes`` a vector; hnsw walks a graph."""
    lists: int | None = None
    """ivfpq: null is the power of two next to 4 sqrt(passages)."""
    probes: int | None = 64
    code_bytes: int | None = 64
    neighbours: int | None = 32
    """hnsw: of each passage in the graph."""
    construction: int | None = 200
    """hnsw: candidates looked at when the graph is built."""
    beam: int | None = 128
    """hnsw: candidates looked at when it is searched."""

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self) if f.name != "kind"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"retrieval.vectors.{name} must be at least 1, got {value}")
        if missing := [name for name in USES[self.kind] if getattr(self, name) is None and name != "lists"]:
            raise UserError(f"retrieval.vectors.kind={self.kind} needs a number for {', '.join(missing)}")


@dataclass(frozen=True)
class Retrieval:
    """How web_search finds passages."""

    method: Literal["bm25", "dense"] = "bm25"
    """bm25: shared words, for corpora that fit into memory.  dense: ``embedding`` and ``vectors``."""
    bm25: Bm25 = field(default_factory=Bm25)
    embedding: Embedding = field(default_factory=Embedding)
    vectors: Vectors = field(default_factory=Vectors)
    sha256: str | None = None
    """Of the corpus file, where smartad itself does not know it."""

    def __post_init__(self) -> None:
        unheard = [f"{part}.{f.name}={getattr(given, f.name)}"
                   for part, given, plain in (("embedding", self.embedding, Embedding()), ("vectors", self.vectors, Vectors()))
                   for f in fields(given) if getattr(given, f.name) != getattr(plain, f.name)]
        if self.method == "bm25" and unheard:
            raise UserError(f"retrieval.{', retrieval.'.join(unheard)} with retrieval.method=bm25, which has no vectors; set "
                            "retrieval.method=dense, or leave it out")


def decisive(vectors: Vectors) -> Vectors:
    """Without what an index of its kind does not depend on."""
    unused: dict[str, Any] = {f.name: None for f in fields(vectors) if f.name != "kind" and f.name not in USES[vectors.kind]}
    return replace(vectors, **unused)
