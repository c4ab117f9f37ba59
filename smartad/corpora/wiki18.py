"""Wikipedia of December 2018 in 21,015,324 passages of 100 words, as Search-R1 and the papers' retriever read it.

``smartad fetch wiki18`` brings it from the model hub, and the flat index of it that was made with e5-base-v2.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from smartad.benchmarks import Source
from smartad.corpora import Download

if TYPE_CHECKING:
    from smartad.engines.retrieval.passages import Lines

SOURCE = Source("wiki18/wiki-18.jsonl", None, licence="cc-by-sa-3.0", dataset="PeterJinGo/wiki-18-corpus")
PUBLISHED = "wiki18/e5_Flat.index"
DOWNLOADS = (Download(SOURCE.file, "PeterJinGo/wiki-18-corpus", ("wiki-18.jsonl.gz",)),
             Download(PUBLISHED, "PeterJinGo/wiki-18-e5-index", ("part_aa", "part_ab")))


def load(path: Path) -> "Lines":
    """Every passage, read where it lies."""
    from smartad.engines.retrieval.passages import scan

    return scan(path, "contents")
