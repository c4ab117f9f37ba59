"""Gaokao 2023 in English, as Qwen2.5-Math publishes it: 385 problems, of which 92 are Chinese and the rest American exams.

Two rows have no answer; one answer is wrong in the file (row 349); 32 rows are also in AMC 2023.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.benchmarks import Defect, Git, Hub, Source
from smartad.types import Kind, Question

KIND: Kind = "math"
SOURCE = Source("gaokao2023en/test.jsonl", "654d8f49bdb86f578c171dbc0dd8f4d9f1bf3d7a7438f60359fda7d643df4951",
                github=Git("QwenLM/Qwen2.5-Math", "a45202bd16f1ec06f433442dc1152d0074773465",
                           "evaluation/data/gaokao2023en/test.jsonl"),
                hub=Hub("MARIO-Math-Reasoning/Gaokao2023-Math-En", ("Gaokao2023-Math-En.jsonl",), ("question", "answer"),
                        "6c7bdecd205ed623b5e6c92335deb4f13a7cdd9b"),
                rights="the problems are of Chinese and American exams")
DELIMITER = re.compile(r"(?<!\\)\$")
DEFECTS = (
    Defect("gaokao/167", "empty_gold", "any of the 9 cells is a saddle point with the chance 2! 2! / 5!, and two cannot be: 9/30",
           (), (r"\frac{3}{10}",)),
    Defect("gaokao/167", "leaked_answer", "the answer stands at the end of the question", cut=r"answers: $\frac{3}{10}$"),
    Defect("gaokao/192", "empty_gold", "b of 435, in percent, is 100 (b / 435): choice A", (), ("A",)),
    Defect("gaokao/192", "leaked_answer", "the answer stands at the end of the question", cut="Answer: A"),
    Defect("gaokao/349", "wrong_gold", "with L = log n it takes L = 0 or 2 <= L < 3: 1 and 100 to 999, as in AMC 2023",
           ("902",), ("901",)),
    *(Defect(f"gaokao/{row}", "also_in_amc23", "a problem of AMC 2023, word for word or asked for another quantity of it")
      for row in (297, 298, 301, 303, 316, 317, 318, 319, 320, 324, 326, 327, 331, 338, 339, 340, 342, 343, 344, 345, 346, 347,
                  348, 349, 350, 351, 352, 353, 354, 355, 358, 359)),
)


def load(path: Path) -> list[Question]:
    """Every problem, ``gaokao/<row>`` since 92 have no id of their own.  Answers lose the ``$`` around formulas."""
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [Question(f"gaokao/{i}", row["question"], _answers(row["answer"])) for i, row in enumerate(rows)]


def from_hub(row: Mapping[str, Any]) -> Question:
    """One problem."""
    return Question("gaokao/", row["question"], _answers(row["answer"]))


def _answers(text: str) -> tuple[str, ...]:
    gold = DELIMITER.sub("", text).strip()
    return (gold,) if gold else ()
