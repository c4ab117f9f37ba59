"""How trackio keeps a run: its rows, tables, pages and pictures, and what it was made from.

This writes through trackio's storage layer, not through ``trackio.init``: init asks the Hugging Face hub who its token
belongs to, prints on stdout, and swallows what goes wrong; the storage layer does one transaction and raises.
trackio's minor version is pinned in pyproject for that.
"""

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from smartad.stage import output_files
from smartad.tracking.base import PROJECT, Row, Table, View
from smartad.types import UserError

ELSEWHERE = ("TRACKIO_BUCKET_ID", "TRACKIO_DATASET_ID")
"""By these variables trackio would fill the folder from a bucket at the Hugging Face hub."""
SHOWN = 251
"""Characters of a cell: trackio shows 250, and three dots for the rest."""


def folder(root: Path) -> Path:
    """Where trackio keeps the runs of the store ``root``."""
    return root.absolute() / "trackio"


def storage(root: Path) -> Any:
    """trackio's storage class, bound to ``root``.  trackio reads its folder once, when it is imported."""
    os.environ["TRACKIO_DIR"] = str(folder(root))
    for variable in ELSEWHERE:
        os.environ.pop(variable, None)
    from trackio import fragments, utils  # noqa: F401
    if Path(utils.TRACKIO_DIR) != folder(root):
        raise UserError(f"trackio writes to {utils.TRACKIO_DIR} in this process and cannot change to {folder(root)}")
    return _prepared_once()


@cache
def _prepared_once() -> Any:
    """trackio's storage class, which prepares a database before the first write of this process instead of before each.

    trackio 0.43 builds an index of all links between runs and artifacts anew each time: in a sweep of 6,000 stages a write
    took 14 ms of CPU instead of 2.
    """
    from trackio.sqlite_storage import SQLiteStorage
    prepare, ready = SQLiteStorage.init_db, set[tuple[str, int]]()

    def init_db(project: str) -> Path:
        path: Path = SQLiteStorage.get_project_db_path(project)
        if not path.exists() or (project, path.stat().st_ino) not in ready:  # somebody may have removed it meanwhile
            prepare(project)
            ready.add((project, path.stat().st_ino))
        return path

    SQLiteStorage.init_db = staticmethod(init_db)
    return SQLiteStorage


def beside() -> bool:
    """Whether trackio's database may not be written here.

    SQLite is unsafe on a network file system, where trackio takes append-only fragments and reads them in later.
    """
    from trackio.utils import get_storage_mode
    return bool(get_storage_mode() == "jsonl")


def iso(seconds: float) -> str:
    """``seconds`` since the epoch as trackio writes them."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@dataclass(frozen=True)
class Line:
    """What is shown at one step."""

    id: str
    """Within its run.  The same line twice, as after an error half-way, is one line."""
    step: int
    time: float
    """Seconds since the epoch."""
    shown: Mapping[str, Any]
    """Numbers, tables and media by name."""


class Run:
    """A run of the store's trackio project.

    On a network file system nothing that was shown can be taken back, as when a stage is restarted and goes back, and
    lineage waits for ``gather``.
    """

    def __init__(self, root: Path, id: str, name: str = "") -> None:
        self.id, self.name, self.storage = id, name or id, storage(root)
        self._me = {"project": PROJECT, "run": self.name, "run_id": id}
        self._fragments: Any = None

    def clear(self) -> None:
        """Take back what was shown."""
        if not beside():
            # By its id alone: for the name trackio would look through the rows of all runs.
            self.storage.delete_run(PROJECT, None, run_id=self.id)
            from trackio.utils import project_media_dir
            shutil.rmtree(project_media_dir(PROJECT) / self.id, ignore_errors=True)

    def add(self, lines: Sequence[Line], config: Mapping[str, Any] | None = None) -> None:
        """Show ``lines``, and ``config`` in place of an earlier one."""
        entries = [{"metrics": dict(line.shown), "step": line.step, "timestamp": iso(line.time),
                    "log_id": f"{self.id}/{line.id}"} for line in lines]
        if beside():
            from trackio.fragments import metric_record
            self._write([metric_record({**self._me, **entry, "config": None if i else config})
                         for i, entry in enumerate(entries)])
        else:
            self.storage.bulk_log(**self._me, **_columns(entries), steps=[line.step for line in lines], config=config)

    def add_machine(self, rows: Sequence[Row]) -> None:
        """Show samples of the machine."""
        entries = [{"metrics": dict(row.metrics), "timestamp": iso(row.time), "log_id": f"{self.id}/machine/{row.time}"}
                   for row in rows]
        if beside():
            from trackio.fragments import system_metric_record
            self._write([system_metric_record({**self._me, **entry}) for entry in entries])
        else:
            self.storage.bulk_log_system(**self._me, **_columns(entries))

    def show(self, views: Iterable[View]) -> dict[str, Any]:
        """Tables and pages, as they stand in a line."""
        return {view.name: _table(view) if isinstance(view, Table) else self._page(view.html) for view in views}

    def image(self, path: Path) -> dict[str, Any]:
        """A copy of the picture ``path``, as it stands in a line."""
        from trackio.media import TrackioImage
        return self._saved(TrackioImage(path))

    def link(self, output: Path, inputs: Iterable[str]) -> None:
        """Say that this run has made the folder ``output`` from the ``inputs``, fingerprints beside it in the store.

        One transaction, of the parts of which trackio's own functions make one for each artifact.
        """
        now = iso(time.time())
        with self.storage._get_process_lock(PROJECT), \
                self.storage._get_connection(self.storage.get_project_db_path(PROJECT)) as database:
            made = self._artifact(database, output, now)
            database.execute("UPDATE artifact_versions SET producer_run_id = ?, producer_run_name = ? WHERE id = ?",
                             (self.id, self.name, made))
            self.storage._insert_run_artifact_link_cursor(database, self.name, self.id, made, "output", now)
            for fingerprint in sorted(set(inputs)):
                known = self.storage._resolve_artifact_version_cursor(database, fingerprint, "latest")
                # An input that was made without a tracker is in the store all the same.
                used = known["version_id"] if known else self._artifact(database, output.parent / fingerprint, now)
                self.storage._insert_run_artifact_link_cursor(database, self.name, self.id, used, "input", now)

    def _artifact(self, database: Any, output: Path, now: str) -> int:
        """The artifact of ``output``, made of references: trackio needs no second copy of the files."""
        artifact = self.storage._create_or_get_artifact_cursor(database, output.name, output.name.rpartition("-")[0], None, now)
        version, _, new = self.storage._insert_artifact_version_cursor(
            database, artifact, list(_references(output)), None, None, None, now)
        if new:
            self.storage._reassign_alias_cursor(database, artifact, "latest", version)
        return int(version)

    def _page(self, html: str) -> dict[str, Any]:
        from trackio.media import TrackioHtml
        return self._saved(TrackioHtml(html))

    def _saved(self, media: Any) -> dict[str, Any]:
        media._save(PROJECT, self.id)
        found: dict[str, Any] = media._to_dict()
        return found

    def _write(self, records: list[Any]) -> None:
        from trackio.fragments import FragmentWriter
        if self._fragments is None:  # they are read in the order of their names: the later writer has the last word
            self._fragments = FragmentWriter(f"{time.time_ns()}-{self.id}")
        self._fragments.write_local(records)


def gather(root: Path) -> None:
    """Read in what was written beside the database, and link what it says was finished.

    Writes the database, which on a network file system only one process may do at a time.
    """
    runs = storage(root)
    from trackio import fragments
    fragments.import_inbox_dir()
    names = {run["id"]: run["name"] for run in runs.get_run_records(PROJECT)}
    linked = {row["run_id"] for row in runs.get_run_artifact_counts(PROJECT) if row["output"]}
    for id, config in runs.get_all_run_configs(PROJECT).items():
        if config.get("state") == "finished" and id not in linked:
            Run(root, id, names.get(id, id)).link(root.absolute() / id, config["inputs"].values())


def states(root: Path) -> dict[str, str]:
    """Run -> running, finished or failed, also of what is still beside the database."""
    configs = dict(storage(root).get_all_run_configs(PROJECT))
    from trackio import fragments
    for path in sorted(fragments.local_inbox_dir().rglob("*.jsonl")):
        if path.exists():  # a dashboard may have read it in meanwhile
            configs |= {record["run_id"]: record["config"] for record in fragments.parse_fragment_bytes(path.read_bytes())
                        if record.get("config")}
    return {id: config["state"] for id, config in configs.items() if "state" in config}


def _table(table: Table) -> dict[str, Any]:
    return {"_type": "trackio.table", "_value": [
        {name: cell[:SHOWN] if isinstance(cell, str) else cell for name, cell in zip(table.columns, row, strict=True)}
        for row in table.rows]}


def _columns(entries: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {"metrics_list": [entry["metrics"] for entry in entries], "timestamps": [entry["timestamp"] for entry in entries],
            "log_ids": [entry["log_id"] for entry in entries]}


def _references(output: Path) -> Iterator[dict[str, Any]]:
    """The files that the record of ``output`` names, or will name when its stage is through."""
    for name, path in output_files(output).items():
        uri = path.as_uri()
        yield {"path": name, "ref": uri, "digest": uri, "size": path.stat().st_size}
