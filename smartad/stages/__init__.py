"""The stages, one module each; and what several of them read."""

from collections.abc import Mapping
from pathlib import Path

from smartad.records import read_jsonl
from smartad.types import Question


def questions_of(inputs: Mapping[str, Path]) -> dict[str, Question]:
    """The questions of every ``questions/*`` input, by id."""
    return {question.id: question for role, folder in inputs.items() if role.startswith("questions/")
            for question in read_jsonl(folder / "questions.jsonl", Question)}
