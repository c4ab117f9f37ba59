"""GSM-Hard, as frozen by Agent Distillation: 500 word problems with large numbers; 109 answers are no whole numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.benchmarks import Defect, Hub
from smartad.benchmarks._agent_distillation import examples, source
from smartad.benchmarks._numbers import decimal
from smartad.types import Kind, Question

KIND: Kind = "math"
SOURCE = source("data_processor/math_dataset/test/gsm_hard_500_20250507.json",
                "970c69744216a75fe04eb86ff1adaf208df5191e2731c6ef0610bd2312266498", licence="apache-2.0",
                hub=Hub("reasoning-machines/gsm-hard", ("gsmhardv2.jsonl",), ("input", "target")))
DEFECTS = tuple(Defect(f"gsm_hard/{row}", "float_noise", "the problem's numbers give a short one; the file has what floats "
                       "made of it", (was,), (right,))
                for row, was, right in (
                    (457, "561161.7000000001", "561161.7"), (114, "19023741.599999998", "19023741.6"),
                    (534, "1643531.4999999998", "1643531.5"), (1158, "14609835.600000001", "14609835.6"),
                    (911, "3313620.6879999996", "3313620.688"), (1064, "905663.5999999999", "905663.6"),
                    (1137, "410332.8999999999", "410332.9"), (675, "9189480.000000002", "9189480")))


def load(path: Path) -> list[Question]:
    """Every problem, under its row in GSM-Hard.  Answers are the file's floats to their last digit, noise included."""
    return examples("gsm_hard", path, decimal)


def from_hub(row: Mapping[str, Any]) -> Question:
    """One problem."""
    return Question("gsm_hard/", row["input"], (decimal(float(row["target"])),))
