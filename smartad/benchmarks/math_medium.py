"""The easier half of the papers' MATH training problems: 1,000 of levels 2 and 3; two have no answer in the file."""

from pathlib import Path

from smartad.benchmarks import Source
from smartad.benchmarks._agent_distillation import examples
from smartad.types import Kind, Question

KIND: Kind = "math"
# MIT is what the collection says; the problems are AoPS' and the MAA's.
SOURCE = Source("agent-distillation/data_processor/math_dataset/train/math_medium_1000_20250430.json",
                "af3aaef02faf2264aa32e30ca9b531b26ca7662f6be87a718ef3f5eb139e31ba", licence="mit")


def load(path: Path) -> list[Question]:
    """Every problem, ``math_medium/0`` and on."""
    return examples("math_medium", path)
