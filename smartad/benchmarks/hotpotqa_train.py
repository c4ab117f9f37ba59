"""HotpotQA's share of the papers' training questions: 1,000 hard ones, none of them in the dev set."""

from pathlib import Path

from smartad.benchmarks import Source
from smartad.benchmarks._agent_distillation import examples
from smartad.types import Kind, Question

KIND: Kind = "qa"
SOURCE = Source("agent-distillation/data_processor/qa_dataset/train/hotpotqa_1000_20250402.json",
                "35ae8108e8cb856813dc4aeb7de261b794ec2424ddb19c81449d1007a71f1fb8",
                licence="cc-by-sa-4.0", dataset="hotpotqa/hotpot_qa")


def load(path: Path) -> list[Question]:
    """Every question, under HotpotQA's own ids."""
    return examples("hotpotqa_train", path)
