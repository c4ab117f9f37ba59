"""HotpotQA, as frozen by Agent Distillation: 500 hard two-hop questions of the dev set."""

from pathlib import Path

from smartad.benchmarks import Source
from smartad.benchmarks._agent_distillation import examples
from smartad.types import Kind, Question

KIND: Kind = "qa"
SOURCE = Source("agent-distillation/data_processor/qa_dataset/test/hotpotqa_500_20250422.json",
                "770b2740d2d5195f983dbeae3c770900edab776b5986b4cbff3194443a771b00",
                licence="cc-by-sa-4.0", dataset="hotpotqa/hotpot_qa")


def load(path: Path) -> list[Question]:
    """Every question, under HotpotQA's own ids."""
    return examples("hotpotqa", path)
