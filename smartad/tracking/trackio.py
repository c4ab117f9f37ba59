"""trackio: dashboards without an account or a server.  See trackio_runs.py for how it keeps what is written here."""

import importlib.util
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smartad.redact import redact
from smartad.tracking import views
from smartad.tracking.base import Row, RunInfo, Settings, Summary, View
from smartad.tracking.trackio_runs import Line, Run, beside, folder, iso, states
from smartad.types import UserError

INSTALL = "pip install 'trackio>=0.43,<0.44'"
CURVE = 2
"""Samples of the machine make a curve from here on; the only one of a short stage is not worth its transaction."""


def check(root: Path) -> None:
    """Raise UserError when trackio cannot be used for the store ``root``."""
    if importlib.util.find_spec("trackio") is None:
        raise UserError(f"trackio is not installed: {INSTALL}, or go without it: --track none")
    try:
        folder(root).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"trackio cannot write to {folder(root)} ({error.strerror}); "
                        "use another store, or go without it: --track none") from error


def where(root: Path) -> str:
    """How to look at the runs of the store ``root``."""
    command = "smartad" if shutil.which("smartad") else str(Path(sys.executable).parent / "smartad")
    return f"{command} dashboard --store {shlex.quote(str(root.absolute()))}"


def known(root: Path, ids: Sequence[str]) -> dict[str, str]:
    """Those of the runs ``ids`` that trackio has, each with its state: running, finished or failed."""
    found = states(root)
    return {name: found[name] for name in ids if name in found}


def summarise(root: Path, summary: Summary) -> None:
    """Show a sweep as a run of its own, in place of what was shown of it before."""
    run, now = Run(root, summary.id), time.time()
    run.clear()
    figures = {name: run.image(path) for name, path in summary.figures.items()}
    lines = {"metrics": _numbers("sweep", summary.metrics), "figures": figures, "views": run.show(_last_first(summary.views))}
    # trackio's dashboard sorts tables by step; those of stages have 0, so these come first.
    run.add([Line(f"{kind}/{now}", 1, now, shown) for kind, shown in lines.items()],
            {"stage": "sweep", **redact(dict(summary.config)), "_Group": summary.sweep, "_Created": iso(now)})


class TrackioTracker:
    """One stage run in the store's trackio project, with its output as an artifact."""

    def __init__(self, run: RunInfo, settings: Settings) -> None:
        self.run, self.shown = run, Run(settings.root, run.fingerprint, _name(run))
        self.config: dict[str, Any] = {
            "stage": run.stage, "state": "running", "tags": ", ".join(run.tags), "inputs": dict(run.inputs),
            **redact(run.config), **redact(dict(run.about)), "_Group": run.group}
        self.step, self.time = 0, time.time()
        """Of what was told last: a run that is shown again later has not ended only then."""
        self.samples: list[Row] = []
        self.sent = 0

    def start(self, history: Sequence[Row]) -> None:
        self.shown.clear()
        self.sent = 0
        began = history[0].time if history else self.time
        # trackio's own init adds the names with an underscore; its dashboard groups and sorts by them.
        self.config["_Created"] = iso(began)
        # Without a row trackio does not show a run, and a stage may take hours to its first.
        self.shown.add([Line("began", 0, began, {}), *self._lines(history)], self.config)

    def log(self, rows: Sequence[Row]) -> None:
        self.shown.add(self._lines(rows))

    def machine(self, rows: Sequence[Row]) -> None:
        self.samples += rows
        self.time = max(self.time, rows[-1].time)
        if len(self.samples) >= CURVE:
            self.shown.add_machine(self.samples[self.sent:])
            self.sent = len(self.samples)

    def finish(self, metrics: Mapping[str, float | None]) -> Mapping[str, str]:
        shown, problem = {}, None
        try:
            shown = self.shown.show(_last_first(views.of(self.run)))
        except Exception as error:  # told at the end: a finished stage is not shown as a running one because of it
            problem = error
        if not beside():
            self.shown.link(self.run.folder, self.run.inputs.values())
        self._end("incomplete" if problem else "finished", _numbers(self.run.stage, metrics),
                  [Line("views", 0, self.time, shown)] if shown else [])
        if problem is not None:
            raise problem
        return {"id": self.run.fingerprint}

    def fail(self, reason: str) -> None:
        self.config["reason"] = redact(reason)
        self._end("failed", {})

    def _lines(self, rows: Sequence[Row]) -> list[Line]:
        if rows:
            self.step, self.time = rows[-1].step, rows[-1].time
        return [Line(f"{row.step}/{row.time}", row.step, row.time, _numbers(self.run.stage, row.metrics))
                for row in rows]

    def _end(self, how: str, numbers: Mapping[str, Any], more: Sequence[Line] = ()) -> None:
        self.config["state"] = how
        self.shown.add([Line(how, self.step, self.time, numbers), *more], self.config)


def _name(run: RunInfo) -> str:
    """What a run is called in charts: the row of a sweep's table that it is, or else its fingerprint."""
    if "trial" not in run.about:
        return run.fingerprint
    return f"{redact(run.about['trial'])[:60]}, seed {run.about['seed']} ({run.fingerprint})"


def _numbers(stage: str, metrics: Mapping[str, float | None]) -> dict[str, Any]:
    """What was measured, in the section of charts of its stage: stages of two kinds may call different things the same."""
    return {f"{stage}/{name}": value for name, value in metrics.items() if value is not None}


def _last_first(shown: Sequence[View]) -> Sequence[View]:
    """trackio's dashboard begins with what was written last."""
    return shown[::-1]
