"""MATH500, as frozen by Agent Distillation: 500 problems, LaTeX answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.benchmarks import Hub
from smartad.benchmarks._agent_distillation import answers, examples, source
from smartad.benchmarks._math import RIGHTS, about
from smartad.types import Kind, Question

KIND: Kind = "math"
SOURCE = source("data_processor/math_dataset/test/math_500_20250414.json",
                "32ae376ee63aee4a1e59ea167afebffa0031250b154d1805d13522c60c6069cb", licence="mit",
                hub=Hub("HuggingFaceH4/MATH-500", ("test.jsonl",), ("problem", "answer", "level", "subject"),
                        "ff5b20257d8185524591543f8ff5993951537bb8"), rights=RIGHTS)


def load(path: Path) -> list[Question]:
    """Every problem, ``math500/0`` and on."""
    return examples("math500", path, about=about)


def from_hub(row: Mapping[str, Any]) -> Question:
    """One problem."""
    return Question("math500/", row["problem"], answers(row["answer"]), **about(row))
