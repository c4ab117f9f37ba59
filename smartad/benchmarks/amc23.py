"""AMC 2023: the 40 problems with a whole number for an answer, as Qwen2.5-Math publishes them."""

import json
from pathlib import Path

from smartad.benchmarks import Source
from smartad.benchmarks._numbers import decimal
from smartad.types import Kind, Question

KIND: Kind = "math"
# No licence: the problems are the MAA's, which names none.
SOURCE = Source("amc23/test.jsonl", "43707e1ca784602d8479de24ee8ce36609dbebc46dd152b0b12a46611aa898a4")


def load(path: Path) -> list[Question]:
    """Every problem, ``amc23/0`` and on."""
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [Question(f"amc23/{row['id']}", row["question"], (decimal(row["answer"]),)) for row in rows]
