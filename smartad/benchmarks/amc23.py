"""AMC 2023: the 40 problems with a whole number for an answer, as Qwen2.5-Math publishes them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.benchmarks import Git, Hub, Source
from smartad.benchmarks._numbers import decimal
from smartad.types import Kind, Question

KIND: Kind = "math"
SOURCE = Source("amc23/test.jsonl", "43707e1ca784602d8479de24ee8ce36609dbebc46dd152b0b12a46611aa898a4",
                github=Git("QwenLM/Qwen2.5-Math", "a45202bd16f1ec06f433442dc1152d0074773465", "evaluation/data/amc23/test.jsonl"),
                hub=Hub("math-ai/amc23", ("test-00000-of-00001.parquet",), ("question", "answer"),
                        "56929da58f5de03e3c4ada30a2eec359303bf155"),
                rights="the problems are the MAA's")


def load(path: Path) -> list[Question]:
    """Every problem, ``amc23/0`` and on."""
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [Question(f"amc23/{row['id']}", row["question"], (decimal(row["answer"]),)) for row in rows]


def from_hub(row: Mapping[str, Any]) -> Question:
    """One problem."""
    return Question("amc23/", row["question"], (decimal(float(row["answer"])),))
