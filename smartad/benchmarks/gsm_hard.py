"""GSM-Hard, as frozen by Agent Distillation: 500 word problems with large numbers; 109 answers are no whole numbers."""

from pathlib import Path

from smartad.benchmarks import Source
from smartad.benchmarks._agent_distillation import examples
from smartad.benchmarks._numbers import decimal
from smartad.types import Kind, Question

KIND: Kind = "math"
SOURCE = Source("agent-distillation/data_processor/math_dataset/test/gsm_hard_500_20250507.json",
                "970c69744216a75fe04eb86ff1adaf208df5191e2731c6ef0610bd2312266498", licence="apache-2.0")


def load(path: Path) -> list[Question]:
    """Every problem, under its row in GSM-Hard.  Answers are the file's floats to their last digit, noise included."""
    return examples("gsm_hard", path, decimal)
