"""Bamboogle, as frozen by Agent Distillation: 125 two-hop questions that no single page answers."""

from pathlib import Path

from smartad.benchmarks import Source
from smartad.benchmarks._agent_distillation import examples
from smartad.types import Kind, Question

KIND: Kind = "qa"
SOURCE = Source("agent-distillation/data_processor/qa_dataset/test/bamboogle_125_20250507.json",
                "f6c5f3dd17521cf33a1d597d75525d65673687b3219ffe0339eae21b28d69be4", licence="mit", dataset="chiayewken/bamboogle")


def load(path: Path) -> list[Question]:
    """Every question, ``bamboogle/0`` and on."""
    return examples("bamboogle", path)
