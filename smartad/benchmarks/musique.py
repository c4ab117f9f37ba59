"""MuSiQue, as frozen by Agent Distillation: 500 three-hop questions, without the official answers' aliases."""

from pathlib import Path

from smartad.benchmarks import Source
from smartad.benchmarks._agent_distillation import examples
from smartad.types import Kind, Question

KIND: Kind = "qa"
SOURCE = Source("agent-distillation/data_processor/qa_dataset/test/musique_500_20250504.json",
                "683634bcc958a79b144cffb815d4f56002dc22ed7358e11b897f9ff03ba69110",
                licence="cc-by-4.0", dataset="dgslibisey/MuSiQue")


def load(path: Path) -> list[Question]:
    """Every question, under MuSiQue's own ids (one of them is malformed there)."""
    return examples("musique", path)
