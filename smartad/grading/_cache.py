"""Answers that were paid for, a file each: any number of processes on any number of machines may read and write at once."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.records import read_json, write_json


def read(folder: Path | None, about: Mapping[str, Any]) -> Any:
    """What was answered to ``about``; None when nothing was, or its file is damaged."""
    entry = read_json(_path(folder, about)) if folder else None
    return entry.get("answer") if isinstance(entry, dict) and entry.get("about") == about else None


def write(folder: Path | None, about: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    """Keep ``answer`` under everything that it depends on.  ``folder``: None keeps nothing; its parent must be there."""
    if folder:
        path = _path(folder, about)
        folder.mkdir(exist_ok=True)  # not its parents: a store that is away is not made anew
        path.parent.mkdir(exist_ok=True)
        write_json(path, {"about": about, "answer": answer})


def _path(folder: Path, about: Mapping[str, Any]) -> Path:
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return folder / key[:2] / f"{key}.json"
