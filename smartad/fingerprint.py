"""A stage's identity: its name, its version, its config, and the identities of its inputs.

Where and how a stage runs (GPUs, paths, cluster, tracker) is never passed to this module, so it cannot leak into an
identity.  Code is not hashed either: an edit that changes what a stage's output *means* raises the stage's ``version``;
an edit that does not, must not cost a re-run.
"""

import dataclasses
import enum
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

FINGERPRINT = re.compile(r"[a-z_]+-[0-9a-f]{12}")
"""``<stage>-<12 hex digits>``, whole."""


def canonical(value: Any) -> Any:
    """JSON that is the same in every process.  None is left out, so a new option that defaults to None moves nothing.

    Raises TypeError for what has no such form, ValueError for NaN and infinities.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return canonical({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, dict):
        return {str(k): canonical(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [canonical(v) for v in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"cannot fingerprint {value}")
        return int(value) if value.is_integer() else value
    if value is None or isinstance(value, (str, int, bool)):
        return value
    raise TypeError(f"cannot fingerprint a {type(value).__name__}: use a dataclass, enum, str, number or list")


def digest(payload: Any) -> str:
    """The first 12 hex digits of the SHA-256 of ``payload``'s canonical JSON."""
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """The leaves on which two canonical payloads differ, one readable line each, in the order of their names."""
    if isinstance(a, dict) and isinstance(b, dict):
        return [line for k in sorted(a.keys() | b.keys())
                for line in differences(a.get(k), b.get(k), f"{path}.{k}" if path else k)]
    return [] if a == b else [f"{path}: {a!r} -> {b!r}"]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
