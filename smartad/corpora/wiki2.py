"""The 6,119 passages (whole Wikipedia abstracts) behind 2WikiMultiHopQA questions, as HippoRAG published them."""

import json
from pathlib import Path

from smartad.benchmarks import Source
from smartad.types import Passage

SOURCE = Source("2wiki/2wikimultihopqa_corpus_hipporag.json",
                "9d6e352952aafb18dab22bf8195039461321a44a949df902ae83bce134ad238a", licence="cc-by-sa-3.0")


def load(path: Path) -> list[Passage]:
    """Every passage, in the file's order."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Passage(f"wiki2/{i}", row["title"], " ".join(row["text"].split())) for i, row in enumerate(rows)]
