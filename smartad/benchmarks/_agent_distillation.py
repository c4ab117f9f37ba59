"""The file format of Agent Distillation's question sets: ``{"metadata": ..., "examples": [...]}``.

Its metadata is partly stale (a set of levels 2-3 says "level 3 or higher"), so only the examples are read.
"""

import json
from pathlib import Path

from smartad.types import Question


def examples(benchmark: str, path: Path) -> list[Question]:
    """Every example, under the file's own id.  A missing or empty gold becomes no answers: it cannot be graded."""
    rows = json.loads(path.read_text(encoding="utf-8"))["examples"]
    return [Question(f"{benchmark}/{row['id']}", row["question"], (str(row["answer"]),) if row["answer"] else ())
            for row in rows]
