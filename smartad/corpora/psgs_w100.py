"""The same passages of Wikipedia 2018 as DPR published them: a table of id, text and title, ``psgs_w100.tsv``.

Their ids are not those of ``wiki18``: each file numbers its passages for itself.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from smartad.benchmarks import Source

if TYPE_CHECKING:
    from smartad.engines.retrieval.passages import Lines

SOURCE = Source("wiki18/psgs_w100.tsv", None, licence="cc-by-sa-3.0")


def load(path: Path) -> "Lines":
    """Every passage, read where it lies."""
    from smartad.engines.retrieval.passages import scan

    return scan(path, "psgs_w100")
