"""MuSiQue, as frozen by Agent Distillation: 500 three-hop questions, without the official answers' aliases."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.benchmarks import Defect, Hub
from smartad.benchmarks._agent_distillation import examples, source
from smartad.types import Kind, Question

KIND: Kind = "qa"
SOURCE = source("data_processor/qa_dataset/test/musique_500_20250504.json",
                "683634bcc958a79b144cffb815d4f56002dc22ed7358e11b897f9ff03ba69110",
                licence="cc-by-4.0", dataset="dgslibisey/MuSiQue",
                hub=Hub("dgslibisey/MuSiQue", ("musique_ans_v1.0_dev.jsonl",), ("id", "question", "answer")))
DEFECTS = (
    Defect("musique/3hop2__326964_851134_7713", "duplicate", "the question of 3hop2__851134_326964_7713, its hops exchanged"),
    Defect("musique/ 1__804367_160713_77246", "malformed_id", "begins with a blank and does not say its hops; so in MuSiQue too"),
)


def load(path: Path) -> list[Question]:
    """Every question, under MuSiQue's own ids (one of them is malformed there); subject is how its hops hang together."""
    return [dataclasses.replace(question, subject=_hops(question.id)) for question in examples("musique", path)]


def from_hub(row: Mapping[str, Any]) -> Question:
    """One question."""
    name = f"musique/{row['id']}"
    return Question(name, row["question"], (row["answer"],), subject=_hops(name))


def _hops(name: str) -> str | None:
    hops = name.removeprefix("musique/").partition("__")[0]
    return hops if "hop" in hops else None
