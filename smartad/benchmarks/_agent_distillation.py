"""The file format of Agent Distillation's question sets: ``{"metadata": ..., "examples": [...]}``.

Its metadata is partly stale (a set of levels 2-3 says "level 3 or higher"), so only the examples are read.  So are its levels and
types but where a module asks for them: it calls every question of HotpotQA hard, and of MuSiQue "musique".
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from smartad.benchmarks import Git, Hub, Source
from smartad.types import Question

COMMIT = "0f6cae3df6da51eaaf3f3b08dbc1ba120af64459"
FOLDER = "agent-distillation/"


def source(path: str, sha256: str, *, licence: str | None = None, dataset: str | None = None, hub: Hub | None = None,
           rights: str | None = None) -> Source:
    """One of its files, by its path in the repository; in the data folder it is below ``agent-distillation``."""
    return Source(FOLDER + path, sha256, licence, dataset, Git("Nardien/agent-distillation", COMMIT, path), hub, rights)


def answers(gold: Any, text: Callable[[Any], str] = str) -> tuple[str, ...]:
    """The gold as ``text`` has it; none when the file has null or an empty string."""
    return () if gold in (None, "") else (text(gold),)


def examples(benchmark: str, path: Path, text: Callable[[Any], str] = str,
             about: Callable[[Mapping[str, Any]], dict[str, str | None]] | None = None) -> list[Question]:
    """Every example, under the file's own id.  A missing or empty gold becomes no answers: it cannot be graded.

    ``text``: how an answer is written.  ``about``: level and subject of a row.
    """
    rows = json.loads(path.read_text(encoding="utf-8"))["examples"]
    return [Question(f"{benchmark}/{row['id']}", row["question"], answers(row["answer"], text), **(about(row) if about else {}))
            for row in rows]
