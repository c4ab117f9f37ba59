"""Weights & Biases, live or offline.  Imported only when it is configured (see wandb_server.mode)."""

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smartad.fingerprint import digest, file_sha256
from smartad.records import dump_line
from smartad.redact import holds_secret, redact
from smartad.stage import output_files
from smartad.tracking import views, wandb_reports, wandb_server
from smartad.tracking.base import Incomplete, Row, RunInfo, Settings, Summary, Table, View
from smartad.types import UserError

ADAPTERS = "train"
MODEL = "model"
"""The type of an adapter's artifact: the registry that every organization has takes no other.  Other stages' is their name."""
SHOWN = "views/"
"""Tables and pages have a section of their own: one of them is called like a metric of its stage."""
SWEEP, RECORDS = "sweep", "records.jsonl"
"""The job type of a sweep's own run, the type of its artifact, and the file in that."""
SUMMARY_PATIENCE_S = 60.0
CONTENT = "content"
"""What the summary of a sweep's run has, to tell whether there is anything new to show."""


def check(root: Path) -> None:
    """Raise UserError when W&B cannot be used.  Online, asks the server whether it knows the key: one request."""
    if importlib.util.find_spec("wandb") is None:
        raise UserError("wandb is not installed: pip install 'wandb>=0.31', or go without it: --track trackio")
    if (found := wandb_server.mode()) is None:
        raise UserError(f"W&B is not configured: {wandb_server.WAYS_OUT}")
    if found == "online":
        wandb_server.check_key()


def where(root: Path) -> str:
    """How to look at the runs of the store ``root``."""
    if wandb_server.mode() == "offline":
        return f"wandb sync {root.absolute()}/wandb/offline-run-*"
    return f"{wandb_server.app_url()}, project {wandb_server.project_name()}"


class WandbTracker:
    """One stage run in W&B: run id = fingerprint, job type = stage, group = sweep, one artifact for its output."""

    def __init__(self, run: RunInfo, settings: Settings) -> None:
        self.run, self.settings = run, settings
        prepare(settings.root.absolute())
        self.live: Any = None
        self.unlinked: list[str] = []
        self.next_step, self.open_row = 0, False
        """W&B keeps the last row back, for more of the same step."""

    def start(self, history: Sequence[Row]) -> None:
        if self.live is None:
            self.live = self._init()
            self.next_step = self.live.starting_step
            self._use_inputs()
        self.log(history)

    def log(self, rows: Sequence[Row]) -> None:
        for row in rows:
            # A resumed run stands where the first attempt stopped, and W&B cannot go back: those steps are there.
            if row.step >= self.next_step:
                self.live.log({**row.metrics, "_timestamp": row.time}, step=row.step)
                self.next_step, self.open_row = row.step, True

    def machine(self, rows: Sequence[Row]) -> None:
        """W&B samples the machine by itself."""

    def finish(self, metrics: Mapping[str, float | None]) -> Mapping[str, str]:
        problems = []
        if self.unlinked:
            problems.append(f"these inputs are not in W&B, so its lineage lacks them: {', '.join(self.unlinked)}")
        if self.open_row:  # it would have the last word in the summary
            self.live.log({}, commit=True)
        self.live.summary.update({k: v for k, v in metrics.items() if v is not None})
        try:
            self._log_output(metrics)
        except Exception as error:  # the run is to be closed all the same
            problems.append(f"its files are not there: {error!r}")
        try:
            _show(self.live, views.of(self.run))
        except Exception as error:
            problems.append(f"its tables cannot be made: {error!r}")
        found = {"id": self.run.fingerprint} | ({} if self.live.offline else {"url": self.live.url})
        self.live.finish()
        if problems:
            raise Incomplete("; ".join(problems))
        return found

    def fail(self, reason: str) -> None:
        self.live.summary["reason"] = redact(reason)
        self.live.finish(exit_code=1)

    def _init(self) -> Any:
        # Where W&B's pages look for a dotted key, it means one inside another.
        about = {key.replace(".", "/"): value for key, value in redact(dict(self.run.about)).items()}
        return _init(self.settings, self.run.fingerprint, self.run.stage, self.run.group, self.run.tags,
                     {"stage": self.run.stage, "inputs": dict(self.run.inputs), **redact(self.run.config), **about})

    def _use_inputs(self) -> None:
        if self.live.offline:  # W&B refuses use_artifact offline; `smartad publish` does it later
            return
        import wandb
        for fingerprint in sorted(set(self.run.inputs.values())):
            try:
                self.live.use_artifact(f"{fingerprint}:latest")
            except (wandb.errors.CommError, ValueError):
                self.unlinked.append(fingerprint)

    def _log_output(self, metrics: Mapping[str, float | None]) -> None:
        import wandb
        paths = output_files(self.run.folder)
        if leaky := [name for name, path in paths.items() if holds_secret(path)]:
            raise RuntimeError(f"{', '.join(leaky)} would show a secret of this machine's environment; nothing of it is sent")
        files = {name: {"size": path.stat().st_size, "sha256": file_sha256(path)} for name, path in paths.items()}
        artifact = wandb.Artifact(self.run.fingerprint, type=MODEL if self.run.stage == ADAPTERS else self.run.stage, metadata={
            "sweep": self.run.group, "stage": self.run.stage, "version": self.run.version, "config": redact(self.run.config),
            "inputs": dict(self.run.inputs), "metrics": dict(metrics), "files": listing(files)})
        for name, path in paths.items():
            # The output is final once its stage has returned, so W&B needs no second copy of it.
            artifact.add_file(str(path), name=name, policy="immutable", skip_cache=True)
        logged = self.live.log_artifact(artifact)
        if not self.live.offline:
            logged.wait(timeout=self.settings.patience_s)  # only this says when it has failed


def listing(files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """``<sha256> <size> <name>`` of each file; one line, as W&B limits how many keys an artifact's metadata may have."""
    return [f"{file['sha256']} {file['size']} {name}" for name, file in sorted(files.items())]


def summarise(root: Path, summary: Summary, records: Sequence[Mapping[str, Any]] = ()) -> str | None:
    """Show a sweep as a run of its own; again, and it is the same run, changed where there is something new.

    ``records``: of its finished stages, kept as the run's artifact for whoever pulls an adapter without the store.  Returns
    where to look at the sweep.  Raises UserError when W&B is not there, RuntimeError when it has not taken it.
    """
    entity, config, records = wandb_server.check_key(), redact(dict(summary.config)), redact(list(records))
    images = {name: file_sha256(path) for name, path in summary.figures.items()}
    content = digest([config, dict(summary.metrics), repr(summary.views), images, records])
    if not _summarised(entity, summary, content):
        _summarise(root, summary, config, records, content)
        if not _summarised(entity, summary, content):
            raise RuntimeError(f"W&B does not have what it was told of {summary.id}")
    return wandb_reports.address(root, summary, entity)


def _summarised(entity: str, summary: Summary, content: str) -> bool:
    run = wandb_server.runs(entity, [summary.id]).get(summary.id)
    return run is not None and run["state"] == "finished" and json.loads(run["summaryMetrics"] or "{}").get(CONTENT) == content


def _summarise(root: Path, summary: Summary, config: Mapping[str, Any], records: Sequence[Any], content: str) -> None:
    prepare(root.absolute())
    import wandb
    run = _init(Settings(root, SUMMARY_PATIENCE_S, live=False), summary.id, SWEEP, summary.sweep, (SWEEP,), config)
    run.summary.update({k: v for k, v in summary.metrics.items() if v is not None})
    _show(run, summary.views)
    if summary.figures:
        run.log({name: wandb.Image(str(path)) for name, path in summary.figures.items()})
    artifact = wandb.Artifact(summary.id, type=SWEEP)
    with artifact.new_file(RECORDS) as file:
        file.writelines(dump_line(record) for record in records)
    run.log_artifact(artifact)
    run.summary[CONTENT] = content
    run.finish()


def _init(settings: Settings, id: str, job_type: str, group: str | None, tags: Sequence[str], config: Mapping[str, Any]) -> Any:
    import wandb
    return wandb.init(
        project=wandb_server.project_name(), dir=os.environ.get("WANDB_DIR") or settings.root, mode=wandb_server.mode(),
        id=id, name=id, resume="allow", reinit="create_new", job_type=job_type, group=group, tags=[tag[:64] for tag in tags],
        config=dict(config),
        settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True,
                                x_disable_stats=not settings.live, x_disable_meta=not settings.live,
                                init_timeout=settings.patience_s / 2, finish_timeout=settings.patience_s,
                                finish_timeout_raises=True))


def _show(run: Any, shown: Sequence[View]) -> None:
    import wandb
    if shown:
        run.log({SHOWN + view.name: wandb.Table(list(view.columns), [list(row) for row in view.rows], allow_mixed_types=True)
                 if isinstance(view, Table) else wandb.Html(view.html, inject=False) for view in shown})


def prepare(store: Path) -> None:
    """Import wandb, which keeps its files in ``store`` unless its own variables say otherwise."""
    for variable, name in (("CACHE", "cache"), ("DATA", "data"), ("ARTIFACT", "artifacts")):
        os.environ.setdefault(f"WANDB_{variable}_DIR", str(store / "wandb" / name))
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its exit waits 20 s for a server that does not answer
    import wandb.apis.public  # noqa: F401  # wandb.init would import it, in the tracker's thread
