"""OlymMATH in English, 100 easy and 100 hard problems, as the papers froze it: three answers were corrected upstream since."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.benchmarks import Defect, Hub
from smartad.benchmarks._agent_distillation import examples, source
from smartad.types import Kind, Question

KIND: Kind = "math"
SOURCE = source("data_processor/math_dataset/test/olymath_200_20250511.json",
                "dc105d5747a37031d1f981865dd5603d533488a435b8a2a0722fd167081912d1", licence="mit",
                hub=Hub("RUC-AIBOX/OlymMATH", ("data/OlymMATH-EN-EASY.jsonl", "data/OlymMATH-EN-HARD.jsonl"),
                        ("problem", "answer", "subject", "unique_id")))
EASY = 100
"""The first so many; the rest is hard."""
DEFECTS = tuple(Defect(f"olymmath/{row}", "corrected_upstream", "as in RUCAIBox/OlymMATH since, at 94e19ff", (was,), (right,))
                for row, was, right in ((157, "2", r"\frac{27}{32}"), (169, r"\left[-1, \frac{5}{4}\right]", "(-1, 1)"),
                                        (188, r"\frac{37}{70}", r"\frac{47}{70}")))


def load(path: Path) -> list[Question]:
    """Every problem, ``olymmath/0`` and on; the second hundred is the hard one."""
    questions = examples("olymmath", path, about=lambda row: {"subject": row["subject"]})
    return [dataclasses.replace(question, level="easy" if row < EASY else "hard") for row, question in enumerate(questions)]


def from_hub(row: Mapping[str, Any]) -> Question:
    """One problem; which half it is of is in its id there, ``OlymMATH-HARD-99-EN``."""
    return Question("olymmath/", row["problem"], (row["answer"],), level=row["unique_id"].split("-")[1].lower(),
                    subject=row["subject"])
