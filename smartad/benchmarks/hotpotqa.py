"""HotpotQA, as frozen by Agent Distillation: 500 hard two-hop questions of the dev set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.benchmarks import Hub
from smartad.benchmarks._agent_distillation import examples, source
from smartad.types import Kind, Question

KIND: Kind = "qa"
SOURCE = source("data_processor/qa_dataset/test/hotpotqa_500_20250422.json",
                "770b2740d2d5195f983dbeae3c770900edab776b5986b4cbff3194443a771b00",
                licence="cc-by-sa-4.0", dataset="hotpotqa/hotpot_qa",
                hub=Hub("hotpotqa/hotpot_qa", ("distractor/validation-00000-of-00001.parquet",),
                        ("id", "question", "answer", "level")))


def load(path: Path) -> list[Question]:
    """Every question, under HotpotQA's own ids.  All are of its level hard; bridge or comparison the file does not say."""
    return examples("hotpotqa", path, about=level)


def level(row: Mapping[str, Any]) -> dict[str, str | None]:
    """What HotpotQA says of how hard a question is."""
    return {"level": row["level"]}


def from_hub(row: Mapping[str, Any]) -> Question:
    """One question."""
    return Question(f"hotpotqa/{row['id']}", row["question"], (row["answer"],), **level(row))
