"""HumanEval: 164 Python functions to be written from their signature and docstring (Chen et al. 2021).

Right is what passes a problem's tests, and no list of answers can say that: ``answers`` is empty, and only ``tests`` decide.
"""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.benchmarks import Git, Hub, Source
from smartad.types import Kind, Question

KIND: Kind = "code"
SOURCE = Source("humaneval/HumanEval.jsonl.gz", "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef", licence="mit",
                github=Git("openai/human-eval", "6d43fb980f9fee3c892a914eda09951f772ad10d", "data/HumanEval.jsonl.gz"),
                hub=Hub("openai/openai_humaneval", ("openai_humaneval/test-00000-of-00001.parquet",),
                        ("task_id", "prompt", "test", "entry_point")))


def load(path: Path) -> list[Question]:
    """Every problem, ``humaneval/0`` and on; its text is the beginning of the program that is to be completed."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [from_hub(json.loads(line)) for line in file]


def from_hub(row: Mapping[str, Any]) -> Question:
    """One problem."""
    return Question(row["task_id"].lower(), row["prompt"], (), tests=row["test"], entry_point=row["entry_point"])
