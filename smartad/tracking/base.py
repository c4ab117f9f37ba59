"""What trackers are told, and what a tracker is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

PROJECT = "smartad"
"""Everything of one store is one project of a tracker, so that sweeps can be compared; a sweep is a group in it."""


@dataclass(frozen=True)
class RunInfo:
    """One stage run, as far as trackers are concerned."""

    fingerprint: str
    """``<stage>-<12 hex digits>``: the run's name and id everywhere."""
    stage: str
    config: Mapping[str, Any]
    """The stage's whole config as canonical JSON."""
    inputs: Mapping[str, str]
    """Role -> fingerprint."""
    folder: Path
    """Where the stage writes its output."""
    group: str | None = None
    """The sweep it was run for."""
    tags: tuple[str, ...] = ()
    """What people filter by: the kind of stage, the benchmarks."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What a row is called: trial, seed, and the swept keys with their values.  Of other stages nothing."""
    version: int = 0
    """Of the stage."""


@dataclass(frozen=True)
class Row:
    """What was reported at one step."""

    step: int
    time: float
    """Seconds since the epoch."""
    metrics: Mapping[str, float]


class Incomplete(RuntimeError):
    """A run is there, and something of it is not; the message says what."""


class Tracker(Protocol):
    """One tracker's view of one stage run.  Called from one thread, never from a stage's; whatever it raises is caught.

    Made, as ``Tracker(run, settings)``, before the stage starts.  That only imports what the tracker needs: an import
    in the tracker's thread could meet one in the stage's, and Python then shows one of them half a module.
    """

    def start(self, history: Sequence[Row]) -> None:
        """Make the run, holding exactly ``history``.  Called again to mend it after an error or a rewind."""

    def log(self, rows: Sequence[Row]) -> None:
        """Add ``rows``; steps never decrease."""

    def machine(self, rows: Sequence[Row]) -> None:
        """Add samples of the machine (see machine.py); their ``step`` is seconds since the stage began."""

    def finish(self, metrics: Mapping[str, float | None]) -> Mapping[str, str]:
        """The stage is done, and its files are final: show them (see views.py), and its final metrics.

        Returns what identifies the run there: ``id`` and, if it has one, ``url``.  Raises Incomplete when only a part of
        it is there.
        """

    def fail(self, reason: str) -> None:
        """The stage raised ``reason``."""


@dataclass(frozen=True)
class Settings:
    """What every tracker of a store shares.  Plain data: it travels to worker processes."""

    root: Path
    """The store; trackers keep their files in it."""
    patience_s: float
    """How long one run may keep the next waiting at its end."""
    live: bool = True
    """False when a run is told from the store afterwards: this process is not what it ran on."""


@dataclass(frozen=True)
class Finished:
    """A finished stage, as the store has it."""

    run: RunInfo
    metrics: Mapping[str, float | None]
    files: Mapping[str, Mapping[str, Any]]
    """Path -> its ``size`` and ``sha256``."""


@dataclass(frozen=True)
class Table:
    """Rows of a stage's output."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Page:
    """A piece of HTML that needs nothing from elsewhere."""

    name: str
    html: str


View = Table | Page


@dataclass(frozen=True)
class Summary:
    """A sweep as a whole: a run of its own, beside those of its stages."""

    sweep: str
    config: Mapping[str, Any]
    """What was declared."""
    metrics: Mapping[str, float | None]
    """How far it is, and its best score."""
    views: tuple[View, ...]
    """The comparison table first."""
    figures: Mapping[str, Path]
    """Name -> a PNG."""

    @property
    def id(self) -> str:
        """Of its run."""
        return f"sweep-{self.sweep}"
