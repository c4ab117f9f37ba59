"""AIME of 2022 to 2024, as frozen by Agent Distillation: 90 problems, whole numbers from 0 to 999."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.benchmarks import Defect, Hub
from smartad.benchmarks._agent_distillation import examples, source
from smartad.types import Kind, Question

KIND: Kind = "math"
SOURCE = source("data_processor/math_dataset/test/aime_90_20250504.json",
                "445868439c6c88c8f3ac99c9aabae90606cac43ade63597936bec37a22d510c0",
                hub=Hub("AI-MO/aimo-validation-aime", ("data/train-00000-of-00001.parquet",), ("problem", "answer"),
                        "1f8807dabb2265892a7c2cb5e73d95d25df4507b"),
                rights="the problems are the MAA's")
DEFECTS = tuple(Defect(f"aime/{row}", "leading_zeros", "printed with three digits, as on the answer sheet; read as a number")
                for row in (6, 16, 18, 23, 25, 28, 33, 39, 41, 42, 47, 58, 59, 67, 75, 78, 83, 84, 85, 86))


def load(path: Path) -> list[Question]:
    """Every problem, ``aime/0`` and on, without its printed solutions.  Answers lose their leading zeros: 033 is 33."""
    return examples("aime", path, _number)


def from_hub(row: Mapping[str, Any]) -> Question:
    """One problem."""
    return Question("aime/", row["problem"], (_number(row["answer"]),))


def _number(gold: Any) -> str:
    return str(int(gold))
