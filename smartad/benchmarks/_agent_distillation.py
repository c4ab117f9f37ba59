"""The file format of Agent Distillation's question sets: ``{"metadata": ..., "examples": [...]}``.

Its metadata is partly stale (a set of levels 2-3 says "level 3 or higher"), so only the examples are read.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smartad.types import Question


def answers(gold: Any, text: Callable[[Any], str] = str) -> tuple[str, ...]:
    """The gold as ``text`` has it; none when the file has null or an empty string."""
    return () if gold in (None, "") else (text(gold),)


def examples(benchmark: str, path: Path, text: Callable[[Any], str] = str) -> list[Question]:
    """Every example, under the file's own id.  A missing or empty gold becomes no answers: it cannot be graded.

    ``text``: how an answer is written.
    """
    rows = json.loads(path.read_text(encoding="utf-8"))["examples"]
    return [Question(f"{benchmark}/{row['id']}", row["question"], answers(row["answer"], text)) for row in rows]
