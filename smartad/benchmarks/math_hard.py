"""The harder half of the papers' MATH training problems: 1,000 of levels 4 and 5; two have no answer in the file."""

from pathlib import Path

from smartad.benchmarks import Source
from smartad.benchmarks._agent_distillation import examples
from smartad.types import Kind, Question

KIND: Kind = "math"
# MIT is what the collection says; the problems are AoPS' and the MAA's.
SOURCE = Source("agent-distillation/data_processor/math_dataset/train/math_1000_20250414.json",
                "71240de787bb08c59b09bbb5fa4daa2cb536849da29dfdd25bf9e27c7eff344b", licence="mit")


def load(path: Path) -> list[Question]:
    """Every problem, ``math_hard/0`` and on."""
    return examples("math_hard", path)
