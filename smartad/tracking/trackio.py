"""trackio: dashboards without an account or a server.

This writes through trackio's storage layer, not through ``trackio.init``: init asks the Hugging Face hub who its token
belongs to, prints on stdout, and swallows what goes wrong; the storage layer does one transaction and raises.
trackio's minor version is pinned in pyproject for that.
"""

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smartad.redact import redact
from smartad.tracking.base import PROJECT, Row, RunInfo, Settings
from smartad.types import UserError


def folder(root: Path) -> Path:
    """Where trackio keeps the runs of the store ``root``."""
    return root.absolute() / "trackio"


def check(root: Path) -> None:
    """Raise UserError when trackio cannot be used for the store ``root``."""
    if importlib.util.find_spec("trackio") is None:
        raise UserError("trackio is not installed: pip install 'trackio>=0.43,<0.44', or go without it: --track none")
    try:
        folder(root).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"trackio cannot write to {folder(root)} ({error.strerror}); "
                        "use another store, or go without it: --track none") from error


def where(root: Path) -> str:
    """How to look at the runs of the store ``root``."""
    command = "trackio" if shutil.which("trackio") else str(Path(sys.executable).parent / "trackio")
    return f"TRACKIO_DIR={folder(root)} {command} show --project {PROJECT}"


class TrackioTracker:
    """One stage run in the store's trackio project."""

    def __init__(self, run: RunInfo, settings: Settings) -> None:
        self.run, self.storage = run, _storage(settings.root)
        # trackio's own init adds the names with an underscore; its dashboard groups and sorts by them.
        self.config: dict[str, Any] = {"stage": run.stage, **{f"inputs/{k}": v for k, v in run.inputs.items()},
                                       "state": "running", **redact(run.config),
                                       "_Group": run.group, "_Created": datetime.now(UTC).isoformat()}
        self.last_step = 0
        self._fragments: Any = None

    def start(self, history: Sequence[Row]) -> None:
        self.storage.delete_run(PROJECT, self.run.fingerprint, run_id=self.run.fingerprint)
        # Without a row trackio does not show a run, and a stage may take hours to its first.
        self._write(history or [Row(0, datetime.now(UTC).timestamp(), {})], with_config=True)

    def log(self, rows: Sequence[Row]) -> None:
        self._write(rows)

    def machine(self, rows: Sequence[Row]) -> None:
        self.storage.bulk_log_system(project=PROJECT, run=self.run.fingerprint, run_id=self.run.fingerprint,
                                     metrics_list=[dict(row.metrics) for row in rows],
                                     timestamps=[datetime.fromtimestamp(row.time, UTC).isoformat() for row in rows])

    def finish(self, metrics: Mapping[str, float | None]) -> Mapping[str, str]:
        self.config["state"] = "finished"
        self._write([Row(self.last_step, datetime.now(UTC).timestamp(),
                         {k: v for k, v in metrics.items() if v is not None})], with_config=True)
        return {"id": self.run.fingerprint}

    def fail(self, reason: str) -> None:
        self.config |= {"state": "failed", "reason": redact(reason)}
        self._write([Row(self.last_step, datetime.now(UTC).timestamp(), {})], with_config=True)

    def _write(self, rows: Sequence[Row], with_config: bool = False) -> None:
        name = self.run.fingerprint
        self.last_step = rows[-1].step
        entries: dict[str, Any] = {
            "metrics_list": [dict(row.metrics) for row in rows], "steps": [row.step for row in rows],
            "timestamps": [datetime.fromtimestamp(row.time, UTC).isoformat() for row in rows],
            # The same row twice, as after an error half-way, is one row.
            "log_ids": [f"{name}/{row.step}/{row.time}" for row in rows],
            "config": self.config if with_config else None}
        from trackio.utils import get_storage_mode
        if get_storage_mode() == "jsonl":
            self._write_fragment(entries)
        else:
            self.storage.bulk_log(project=PROJECT, run=name, run_id=name, **entries)

    def _write_fragment(self, entries: Mapping[str, Any]) -> None:
        """SQLite is unsafe on a network file system, where trackio takes append-only fragments and reads them in later.

        There a restarted stage cannot take back what it reported after the step it goes on from.
        """
        from trackio import fragments
        if self._fragments is None:  # they are read in the order of their names: the later writer has the last word
            self._fragments = fragments.FragmentWriter(f"{time.time_ns()}-{self.run.fingerprint}")
        columns = zip(entries["metrics_list"], entries["steps"], entries["timestamps"], entries["log_ids"], strict=True)
        self._fragments.write_local([fragments.metric_record(
            {"project": PROJECT, "run": self.run.fingerprint, "run_id": self.run.fingerprint, "metrics": metrics,
             "step": step, "timestamp": timestamp, "log_id": log_id, "config": entries["config"] if i == 0 else None})
            for i, (metrics, step, timestamp, log_id) in enumerate(columns)])


def _storage(root: Path) -> Any:
    """trackio's storage class, bound to ``root``.  trackio reads its folder once, when it is imported."""
    os.environ["TRACKIO_DIR"] = str(folder(root))
    from trackio import fragments, utils  # noqa: F401
    from trackio.sqlite_storage import SQLiteStorage
    if Path(utils.TRACKIO_DIR) != folder(root):
        raise UserError(f"trackio writes to {utils.TRACKIO_DIR} in this process and cannot change to {folder(root)}")
    return SQLiteStorage
