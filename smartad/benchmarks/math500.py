"""MATH500, as frozen by Agent Distillation: 500 problems, LaTeX answers."""

from pathlib import Path

from smartad.benchmarks import Source
from smartad.benchmarks._agent_distillation import examples
from smartad.types import Kind, Question

KIND: Kind = "math"
# MIT is what the collection says; the problems are AoPS' and the MAA's.
SOURCE = Source("agent-distillation/data_processor/math_dataset/test/math_500_20250414.json",
                "32ae376ee63aee4a1e59ea167afebffa0031250b154d1805d13522c60c6069cb", licence="mit")


def load(path: Path) -> list[Question]:
    """Every problem, ``math500/0`` and on."""
    return examples("math500", path)
