"""The harder half of the papers' MATH training problems: 1,000 of levels 4 and 5; two have no answer in the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.benchmarks import Defect
from smartad.benchmarks._agent_distillation import answers, examples, source
from smartad.benchmarks._math import RIGHTS, TRAIN, about, last_box
from smartad.types import Kind, Question

KIND: Kind = "math"
SOURCE = source("data_processor/math_dataset/train/math_1000_20250414.json",
                "71240de787bb08c59b09bbb5fa4daa2cb536849da29dfdd25bf9e27c7eff344b", licence="mit", hub=TRAIN, rights=RIGHTS)
DEFECTS = (
    Defect("math_hard/174", "empty_gold", "k divides n! + k for every k from 2 to n - 1, and is less: none is prime, choice A",
           (), ("0", "A")),
    Defect("math_hard/499", "empty_gold", "every n from 2 to 59 has a prime factor below 61, which divides P and so P + n: none "
           "is prime, choice A", (), ("0", "A")),
)


def load(path: Path) -> list[Question]:
    """Every problem, ``math_hard/0`` and on."""
    return examples("math_hard", path, about=about)


def from_hub(row: Mapping[str, Any]) -> Question:
    """One problem; its answer is what the solution ends with."""
    return Question("math_hard/", row["problem"], answers(last_box(row["solution"])), **about(row))
