"""OlymMATH in English, 100 easy and 100 hard problems, as the papers froze it: three answers were corrected upstream since."""

from pathlib import Path

from smartad.benchmarks import Source
from smartad.benchmarks._agent_distillation import examples
from smartad.types import Kind, Question

KIND: Kind = "math"
SOURCE = Source("agent-distillation/data_processor/math_dataset/test/olymath_200_20250511.json",
                "dc105d5747a37031d1f981865dd5603d533488a435b8a2a0722fd167081912d1", licence="mit")


def load(path: Path) -> list[Question]:
    """Every problem, ``olymmath/0`` and on; the second hundred is the hard one."""
    return examples("olymmath", path)
