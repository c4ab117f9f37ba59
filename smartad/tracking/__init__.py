"""Who is told what a stage reports.  The store is the truth; a tracker is a projection of it that can be made again.

``metrics.jsonl`` is always written.  Each tracker gets the same rows from a thread of its own: it may be slow, down or
wrongly set up without a stage noticing.  To add one, write ``smartad/tracking/<name>.py`` with ``check(root)``,
``where(root)`` and a class that is a ``base.Tracker``, and add a line to ``TRACKERS``.
"""

import importlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from smartad.redact import redact
from smartad.tracking import wandb_server
from smartad.tracking.base import Finished, Incomplete, Page, Row, RunInfo, Settings, Summary, Table, Tracker
from smartad.tracking.jsonl import FILE, Journal, read_rows
from smartad.tracking.machine import Sampler, read_samples
from smartad.tracking.mirror import Mirror
from smartad.types import UserError

__all__ = ["TRACKERS", "Finished", "Incomplete", "Mirror", "Page", "Row", "RunInfo", "Summary", "Table", "TrackedRun", "Tracker",
           "Tracking", "configure", "mirror", "read_rows"]

logger = logging.getLogger(__name__)

TRACKERS = {"trackio": "TrackioTracker", "wandb": "WandbTracker"}
"""Module in this package -> its class."""
NONE = "none"
PATIENCE_S = 20.0
FAIL_PATIENCE_S = 5.0
BATCH_S = 1.0
"""Rows gather this long before a tracker gets them: one transaction a second, not one a training step."""
QUEUE_ROWS = 10_000
"""A tracker this many rows behind is told no more, and is given the whole file at the end."""
COSTLY_S = 1.0
REST_S, MOST_REST_S = 300.0, 4 * 3600.0
"""A tracker that failed a run and kept it waiting longer than COSTLY_S is left alone by this process for so long: twice as long
each time, until one run has gone well."""


@dataclass(frozen=True)
class Tracking:
    """Which trackers the runs of one store are shown to.  Plain data, made by ``configure``; workers get a copy."""

    root: Path
    """The store."""
    names: tuple[str, ...] = ()
    """Trackers besides ``metrics.jsonl``."""
    group: str | None = None
    """The sweep."""
    patience_s: float = PATIENCE_S
    """How long the end of a run waits for its trackers."""

    def where(self) -> list[str]:
        """Where to look, a command or an address for each tracker."""
        return [_module(name).where(self.root) for name in self.names]

    def run(self, info: RunInfo) -> "TrackedRun":
        """Start telling the trackers about one stage run.  Use as a context: an exception marks the run as failed."""
        return TrackedRun(info, self)


def default() -> list[str]:
    """Trackers where none are named: trackio and, where it is configured, W&B."""
    return ["trackio", *(["wandb"] if wandb_server.mode() else [])]


def configure(names: Sequence[str] | None, root: Path, group: str | None = None) -> Tracking:
    """Decide on trackers and check that they can start, before anything runs.

    ``names``: those wanted, ``["none"]`` for no tracker, None for ``default``.
    Raises UserError for an unknown name and for a tracker that cannot start, with the way out.
    """
    if names is None:
        names = default()
        if "wandb" not in names:
            logger.info("not shown in W&B, which is not configured; the store keeps everything that it would be shown")
    for name in names:
        if name not in TRACKERS and name != NONE:
            raise UserError(f"no tracker {name!r}; there are {', '.join(TRACKERS)}, and {NONE!r} for none of them")
    if NONE in names and len(names) > 1:
        raise UserError(f"--track {NONE} goes alone, not with {', '.join(n for n in names if n != NONE)}")
    chosen = tuple(dict.fromkeys(name for name in names if name != NONE))
    for name in chosen:
        _module(name).check(root)
    return Tracking(root, chosen, group)


def mirror(name: str, root: Path) -> Mirror:
    """The tracker ``name`` as what is to show the store ``root``.  Raises UserError for an unknown name."""
    if name not in TRACKERS:
        raise UserError(f"no tracker {name!r}; there are {', '.join(TRACKERS)}")
    kind = _module("wandb_mirror").WandbMirror if name == "wandb" else Mirror
    found: Mirror = kind(name, root, TRACKERS[name])
    return found


class TrackedRun:
    """One stage run and those who are told about it."""

    def __init__(self, info: RunInfo, tracking: Tracking) -> None:
        self.patience_s = tracking.patience_s
        self.fingerprint = info.fingerprint
        self._journal = Journal(info.folder)
        self._feeds: dict[str, _Feed] = {}
        self._status: dict[str, dict[str, str]] = {}
        self._sampler = Sampler(info.folder, self._tell_machine)
        self.machine: dict[str, float] = {}
        """What the finished stage took of the machine: means of shares, peaks of memory."""
        settings = Settings(tracking.root, tracking.patience_s)
        for name in tracking.names:
            if time.monotonic() < _resting.get(name, 0.0):
                self._status[name] = {"status": "behind", "reason": f"failed within the last {_rests[name]:.0f} s"}
                continue
            try:
                tracker = getattr(_module(name), TRACKERS[name])(info, settings)
            except Exception as error:
                self._status[name] = {"status": "behind", "reason": _reason(error)}
                continue
            self._feeds[name] = _Feed(name, tracker, info.folder / FILE, self._journal.earlier)

    def log(self, step: int, **metrics: Any) -> None:
        """Write one row and pass it on.  ``step`` must not decrease.  Raises OSError when the disk is full."""
        row, rewound = self._journal.add(step, metrics)
        for feed in self._feeds.values():
            feed.put(row, self._journal.earlier if rewound else None)

    def _tell_machine(self, row: Row) -> None:
        for feed in list(self._feeds.values()):
            feed.put_machine(row)

    def finish(self, metrics: Mapping[str, float | None]) -> dict[str, dict[str, str]]:
        """Tell the final metrics and wait, at most ``patience_s``.

        Returns, by tracker, ``status`` (ok, or behind: to be caught up from the store), ``id``, ``url`` and ``reason``.
        """
        self.machine = self._sampler.stop()
        return self._close(_End(metrics), self.patience_s)

    def fail(self, reason: str) -> dict[str, dict[str, str]]:
        """The stage raised ``reason``.  Otherwise as ``finish``, but waits less: somebody may have pressed Ctrl-C."""
        return self._close(_End(reason=reason), min(self.patience_s, FAIL_PATIENCE_S))

    def __enter__(self) -> "TrackedRun":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._sampler.abandon()
        if self._feeds:
            self.fail(f"{kind.__name__}: {error}" if kind else "the stage ended without a result")

    def _close(self, end: "_End", patience_s: float) -> dict[str, dict[str, str]]:
        deadline = time.monotonic() + patience_s
        for feed in self._feeds.values():
            feed.close(end)
        for name, feed in self._feeds.items():
            self._status[name] = feed.result(max(0.0, deadline - time.monotonic()))
        self._feeds = {}
        for name, status in self._status.items():
            if status["status"] == "behind":
                _warn_once(name, f"{name} is behind on {self.fingerprint}: {status['reason']}. The run goes on and its "
                                 "record says so; nothing is lost, it is all in the store. Said once per process")
        return self._status


@dataclass(frozen=True)
class _End:
    metrics: Mapping[str, float | None] | None = None
    reason: str = ""


class _Feed(threading.Thread):
    """Passes one run's rows to one tracker.  A daemon, so that a tracker that hangs does not hold up the exit."""

    def __init__(self, name: str, tracker: Tracker, metrics: Path, history: Sequence[Row]) -> None:
        super().__init__(name=name, daemon=True)
        self._tracker, self._metrics = tracker, metrics
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._history: Sequence[Row] | None = history
        self._rows: list[Row] = []
        self._machine: list[Row] = []
        self._end: _End | None = None
        self._error: str | None = None
        self._found: Mapping[str, str] | None = None
        self.start()

    def put(self, row: Row, history: Sequence[Row] | None) -> None:
        """Pass on ``row``.  ``history``: what stands before it, when a restarted stage has gone back."""
        with self._changed:
            if history is not None:
                self._history, self._rows = history, []
            if len(self._rows) < QUEUE_ROWS:
                self._rows.append(row)
            else:
                self._error = f"more than {QUEUE_ROWS} rows were waiting"
            self._changed.notify()

    def put_machine(self, row: Row) -> None:
        """Pass on a sample of the machine."""
        with self._changed:
            self._machine.append(row)
            self._changed.notify()

    def close(self, end: _End) -> None:
        with self._changed:
            self._end = end
            self._changed.notify()
        self._closing.set()

    def result(self, wait_s: float) -> dict[str, str]:
        began = time.monotonic()
        self.join(wait_s)
        if self._found is not None:
            _rests.pop(self.name, None)
            return {"status": "ok", **self._found}
        if time.monotonic() - began > COSTLY_S:
            rest_s = min(MOST_REST_S, 2 * _rests.get(self.name, REST_S / 2))
            _rests[self.name], _resting[self.name] = rest_s, time.monotonic() + rest_s
        return {"status": "behind", "reason": self._error or "did not answer in time"}

    def run(self) -> None:
        try:
            while self._end is None:
                self._pass_on()
                self._closing.wait(BATCH_S)
            self._pass_on()
            self._found = self._finish(self._end)
        except Exception as error:
            self._failed(error)

    def _pass_on(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._history is not None or self._rows or self._machine or self._end is not None)
            history, rows, machine = self._history, self._rows, self._machine
            self._history, self._rows, self._machine = None, [], []
        if self._error is not None:
            return
        try:
            if history is not None:
                self._tracker.start(history)
            if rows:
                self._tracker.log(rows)
            if machine:
                self._tracker.machine(machine)
        except Exception as error:  # made good in _finish
            self._failed(error)

    def _finish(self, end: _End) -> Mapping[str, str]:
        if self._error is not None:
            self._tracker.start(list(read_rows(self._metrics)))
            if samples := list(read_samples(self._metrics.parent)):
                self._tracker.machine(samples)
        if end.metrics is not None:
            return self._tracker.finish(end.metrics)
        self._tracker.fail(end.reason)
        return {}

    def _failed(self, error: Exception) -> None:
        self._error = self._error or _reason(error)  # the first one is the cause


def _reason(error: Exception) -> str:
    return str(redact(f"{type(error).__name__}: {error}"))


_resting: dict[str, float] = {}
_rests: dict[str, float] = {}
_warned: set[str] = set()


def _warn_once(name: str, message: str) -> None:
    if name not in _warned:
        _warned.add(name)
        logger.warning("%s", message)


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")
