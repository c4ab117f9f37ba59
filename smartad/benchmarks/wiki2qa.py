"""2WikiMultiHopQA, as frozen by Agent Distillation: 500 questions, without the official answers' aliases."""

from pathlib import Path

from smartad.benchmarks import Source
from smartad.benchmarks._agent_distillation import examples
from smartad.types import Kind, Question

KIND: Kind = "qa"
SOURCE = Source("agent-distillation/data_processor/qa_dataset/test/2wikimultihopqa_500_20250511.json",
                "5034d0e66b38f5e54f20934cbb02ff1d38f0b292efe81da05b5ebdeafcb1bb07", licence="apache-2.0")


def load(path: Path) -> list[Question]:
    """Every question; its id is a row number, not 2Wiki's own."""
    return examples("wiki2qa", path)
