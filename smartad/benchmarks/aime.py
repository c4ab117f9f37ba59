"""AIME of 2022 to 2024, as frozen by Agent Distillation: 90 problems, whole numbers from 0 to 999."""

from pathlib import Path

from smartad.benchmarks import Source
from smartad.benchmarks._agent_distillation import examples
from smartad.types import Kind, Question

KIND: Kind = "math"
# No licence: the problems are the MAA's, which names none.
SOURCE = Source("agent-distillation/data_processor/math_dataset/test/aime_90_20250504.json",
                "445868439c6c88c8f3ac99c9aabae90606cac43ade63597936bec37a22d510c0")


def load(path: Path) -> list[Question]:
    """Every problem, ``aime/0`` and on, without its printed solutions.  Answers lose their leading zeros: 033 is 33."""
    return examples("aime", path, lambda gold: str(int(gold)))
