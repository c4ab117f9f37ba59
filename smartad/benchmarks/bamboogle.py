"""Bamboogle, as frozen by Agent Distillation: 125 two-hop questions that no single page answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.benchmarks import Hub
from smartad.benchmarks._agent_distillation import examples, source
from smartad.types import Kind, Question

KIND: Kind = "qa"
SOURCE = source("data_processor/qa_dataset/test/bamboogle_125_20250507.json",
                "f6c5f3dd17521cf33a1d597d75525d65673687b3219ffe0339eae21b28d69be4", licence="mit", dataset="chiayewken/bamboogle",
                hub=Hub("chiayewken/bamboogle", ("data/test-00000-of-00001-fd9def31e0acf72c.parquet",), ("Question", "Answer"),
                        "5787baaae24a33baee4cf57a4cc743e8a02cd548"))


def load(path: Path) -> list[Question]:
    """Every question, ``bamboogle/0`` and on."""
    return examples("bamboogle", path)


def from_hub(row: Mapping[str, Any]) -> Question:
    """One question."""
    return Question("bamboogle/", row["Question"], (row["Answer"],))
