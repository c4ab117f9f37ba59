"""The detached driver of a sweep as its log shows it: nobody else remembers why it has ended."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from smartad.cluster import queue
from smartad.cluster.submission import driver_folders
from smartad.store import Store
from smartad.sweep import ledger

REASON = re.compile(r"smartad: |[\w.]+(Error|Exception)\b|slurmstepd\S*: error: (\*\*\*|Detected) ")
"""How the line begins in which a driver, Python or SLURM gives a reason; what comes after it is advice."""


@dataclass(frozen=True)
class Detached:
    """A driver that is, or was, a job."""

    job: str
    folder: Path

    def logs(self) -> list[Path]:
        """Its standard output, then its standard error.  Those that are there."""
        return [path for kind in ("out", "err") if (path := self.folder / f"{self.job}_0_log.{kind}").exists()]

    def last_word(self) -> str:
        """Why it has ended, in its own words or in SLURM's."""
        for path in reversed(self.logs()):
            text = queue.tail(path)
            lines = [line for line in queue.own_lines(text) if not line.startswith("submitit INFO")]
            if said := [line for line in text.splitlines() if REASON.match(line)] or lines:
                return said[-1].removeprefix("smartad: ").rstrip(":")
        return _outcome(self.job)


def last(store: Store, sweep: str) -> Detached | None:
    """The driver of ``sweep`` that was detached last; None when none ever was."""
    for folder in reversed(driver_folders(store, sweep)):
        try:
            return Detached(json.loads((folder / "job.json").read_text(encoding="utf-8"))["job"], folder)
        except (OSError, ValueError):
            continue  # SLURM did not take it
    return None


def ended(store: Store, sweep: str) -> Detached | None:
    """The driver whose end is why nobody drives ``sweep``; None when somebody else has driven it since, or it never began.

    It is for the caller to know that nobody does, and that none is queued.
    """
    driver = last(store, sweep)
    if driver is None or not (logs := driver.logs()):
        return None
    written = ledger.path(store, sweep).stat().st_mtime  # which is the first thing that a driver does
    return driver if max(path.stat().st_mtime for path in logs) >= written else None


@cache
def _outcome(job: str) -> str:
    state, code = queue.outcome(job)
    return f"{state or 'without a word'}{f' with exit code {code}' if code else ''}"
