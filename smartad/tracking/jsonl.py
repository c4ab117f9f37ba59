"""``metrics.jsonl``: every report of a stage, in its own folder.  Always on; trackers are told what stands here."""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from smartad.records import append_jsonl, write_jsonl
from smartad.tracking.base import Row
from smartad.types import UserError

FILE = "metrics.jsonl"
RESERVED = ("step", "time")


class Journal:
    """The metrics file of one stage run.

    A stage that was killed and started again carries on from some step.  Whatever the first attempt reported for that
    step and later ones is dropped at the first report of the second, so the file is what an uninterrupted run writes.
    Within an attempt steps may repeat but not decrease.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.earlier = _without_torn_line(self.path)
        """Rows of earlier attempts; those that are still true once this one has reported."""
        self._resumed = False

    def add(self, step: int, metrics: Mapping[str, Any]) -> tuple[Row, bool]:
        """Write one row.  The row, and whether rows of an earlier attempt had to go for it.

        Values are anything with ``float()``; None (not measured) is left out.  Raises OSError when the disk is full.
        """
        row = Row(int(step), round(time.time(), 6), {k: _number(v) for k, v in metrics.items() if v is not None})
        if wrong := [name for name in RESERVED if name in row.metrics]:
            raise ValueError(f"a metric cannot be called {wrong[0]!r}: every row has that already")
        rewound = False
        if not self._resumed:
            kept = [r for r in self.earlier if r.step < row.step]
            rewound, self._resumed = len(kept) < len(self.earlier), True
            if rewound:
                self.earlier = kept
                write_jsonl(self.path, map(_line, kept))
        append_jsonl(self.path, [_line(row)])
        return row, rewound


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a metrics file, none if there is no file.  Raises UserError naming the line that is damaged."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                fields = json.loads(line)
                yield Row(fields.pop("step"), fields.pop("time"), {k: float(v) for k, v in fields.items()})
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise UserError(f"{path}:{number} is not a row of metrics ({error!r}); "
                                "delete the file to go on without it") from error


def _without_torn_line(path: Path) -> list[Row]:
    content = path.read_bytes() if path.exists() else b""
    if (whole := content.rfind(b"\n") + 1) < len(content):
        os.truncate(path, whole)
    return list(read_rows(path))


def _number(value: Any) -> float:
    return value if type(value) in (int, float) else float(value)


def _line(row: Row) -> dict[str, Any]:
    # JSON has no NaN; a loss that became one is worth knowing, so it is kept as the text float() reads back.
    return {"step": row.step, "time": row.time,
            **{k: v if math.isfinite(v) else str(v) for k, v in row.metrics.items()}}
