"""HotpotQA's share of the papers' training questions: 1,000 hard ones, none of them in the dev set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.benchmarks import Hub
from smartad.benchmarks._agent_distillation import examples, source
from smartad.benchmarks.hotpotqa import level
from smartad.types import Kind, Question

KIND: Kind = "qa"
SOURCE = source("data_processor/qa_dataset/train/hotpotqa_1000_20250402.json",
                "35ae8108e8cb856813dc4aeb7de261b794ec2424ddb19c81449d1007a71f1fb8",
                licence="cc-by-sa-4.0", dataset="hotpotqa/hotpot_qa",
                hub=Hub("hotpotqa/hotpot_qa",
                        ("distractor/train-00000-of-00002.parquet", "distractor/train-00001-of-00002.parquet"),
                        ("id", "question", "answer", "level")))


def load(path: Path) -> list[Question]:
    """Every question, under HotpotQA's own ids."""
    return examples("hotpotqa_train", path, about=level)


def from_hub(row: Mapping[str, Any]) -> Question:
    """One question."""
    return Question(f"hotpotqa_train/{row['id']}", row["question"], (row["answer"],), **level(row))
