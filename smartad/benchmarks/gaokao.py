"""Gaokao 2023 in English, as Qwen2.5-Math publishes it: 385 problems, of which 92 are Chinese and the rest American exams.

Two rows have no answer; one answer is wrong in the file (row 349); 19 rows are also in AMC 2023.
"""

import json
import re
from pathlib import Path

from smartad.benchmarks import Source
from smartad.types import Kind, Question

KIND: Kind = "math"
# No licence: none is stated where it comes from.
SOURCE = Source("gaokao2023en/test.jsonl", "654d8f49bdb86f578c171dbc0dd8f4d9f1bf3d7a7438f60359fda7d643df4951")
DELIMITER = re.compile(r"(?<!\\)\$")


def load(path: Path) -> list[Question]:
    """Every problem, ``gaokao/<row>`` since 92 have no id of their own.  Answers lose the ``$`` around formulas."""
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    golds = [DELIMITER.sub("", row["answer"]).strip() for row in rows]
    return [Question(f"gaokao/{i}", row["question"], (gold,) if gold else ())
            for i, (row, gold) in enumerate(zip(rows, golds, strict=True))]
