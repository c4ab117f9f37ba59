"""The easier half of the papers' MATH training problems: 1,000 of levels 2 and 3; two have no answer in the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.benchmarks import Defect
from smartad.benchmarks._agent_distillation import answers, examples, source
from smartad.benchmarks._math import RIGHTS, TRAIN, about, last_box
from smartad.types import Kind, Question

KIND: Kind = "math"
SOURCE = source("data_processor/math_dataset/train/math_medium_1000_20250430.json",
                "af3aaef02faf2264aa32e30ca9b531b26ca7662f6be87a718ef3f5eb139e31ba", licence="mit", hub=TRAIN, rights=RIGHTS)
DEFECTS = (
    Defect("math_medium/124", "empty_gold", r"MATH has \boxed 2 without braces; 2 x^2 - 5 x + 2 = 0 has the roots 2 and 1/2", (),
           ("2",)),
    Defect("math_medium/519", "empty_gold", r"MATH has \boxed 9 without braces; x^2 + y^2 = 1 - 2 (-4)", (), ("9",)),
)


def load(path: Path) -> list[Question]:
    """Every problem, ``math_medium/0`` and on."""
    return examples("math_medium", path, about=about)


def from_hub(row: Mapping[str, Any]) -> Question:
    """One problem; its answer is what the solution ends with."""
    return Question("math_medium/", row["problem"], answers(last_box(row["solution"])), **about(row))
