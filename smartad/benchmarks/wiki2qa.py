"""2WikiMultiHopQA, as frozen by Agent Distillation: 500 questions, without the official answers' aliases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.benchmarks import Hub
from smartad.benchmarks._agent_distillation import examples, source
from smartad.types import Kind, Question

KIND: Kind = "qa"
SOURCE = source("data_processor/qa_dataset/test/2wikimultihopqa_500_20250511.json",
                "5034d0e66b38f5e54f20934cbb02ff1d38f0b292efe81da05b5ebdeafcb1bb07", licence="apache-2.0",
                hub=Hub("xanhho/2WikiMultihopQA", ("dev.parquet",), ("question", "answer", "type")))


def load(path: Path) -> list[Question]:
    """Every question; its id is a row number, not 2Wiki's own.  Subject is how it was made."""
    return examples("wiki2qa", path, about=lambda row: {"subject": row["type"]})


def from_hub(row: Mapping[str, Any]) -> Question:
    """One question."""
    return Question("wiki2qa/", row["question"], (row["answer"],), subject=row["type"])
