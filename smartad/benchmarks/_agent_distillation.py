"""The file format of Agent Distillation's question sets: ``{"metadata": ..., "examples": [...]}``.

Its metadata is partly stale (a set of levels 2-3 says "level 3 or higher"), so only the examples are read.
"""

import json
from pathlib import Path

from smartad.types import Question


def answers(gold: object) -> tuple[str, ...]:
    """The gold as text; none when the file has null or an empty string."""
    return () if gold in (None, "") else (str(gold),)


def examples(benchmark: str, path: Path) -> list[Question]:
    """Every example, under the file's own id.  A missing or empty gold becomes no answers: it cannot be graded."""
    rows = json.loads(path.read_text(encoding="utf-8"))["examples"]
    return [Question(f"{benchmark}/{row['id']}", row["question"], answers(row["answer"]))
            for row in rows]
