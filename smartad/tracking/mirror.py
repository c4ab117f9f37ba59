"""A tracker brought up to date from the store: what `smartad publish` needs of one, for any tracker.

Of a tracker's module this uses ``check(root)``, its class, ``known(root, ids)``, which gives the state (running, finished,
failed) of those runs that it has, and ``summarise(root, summary)``.  Trackers with a registry of their own have more to do:
see wandb_mirror.py.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smartad.tracking.base import Finished, Settings, Summary
from smartad.tracking.jsonl import FILE, read_rows
from smartad.tracking.machine import read_samples

PATIENCE_S = 120.0
"""How long one run may take to be sent.  Nobody waits for it but who asked for it."""


class Mirror:
    """What one tracker shows of one store."""

    def __init__(self, name: str, root: Path, class_name: str) -> None:
        self.name, self.root, self._class = name, root, class_name
        self.module: Any = importlib.import_module(f"smartad.tracking.{name}")

    def check(self) -> None:
        """Raise UserError when the tracker cannot be used now."""
        self.module.check(self.root)

    def lacking(self, stages: Sequence[Finished]) -> dict[str, list[str]]:
        """Fingerprint -> what is not as the store has it; stages where nothing is wrong are left out.  Changes nothing."""
        states = self.module.known(self.root, [stage.run.fingerprint for stage in stages])
        found = {stage.run.fingerprint: states.get(stage.run.fingerprint) for stage in stages}
        return {id: ["it is not there" if state is None else f"its run is {state}"]
                for id, state in found.items() if state != "finished"}

    def mend(self, stage: Finished, problems: Sequence[str]) -> None:
        """Make good ``problems``, the stage's own from ``lacking``.  Its inputs have been mended before it.

        Raises whatever the tracker raises.
        """
        tracker = getattr(self.module, self._class)(stage.run, Settings(self.root, PATIENCE_S, live=False))
        tracker.start(list(read_rows(stage.run.folder / FILE)))
        if samples := list(read_samples(stage.run.folder)):
            tracker.machine(samples)
        tracker.finish(stage.metrics)

    def summarise(self, summary: Summary, records: Sequence[Mapping[str, Any]]) -> str | None:
        """Show the sweep as a whole.  Where to look at it, if that can be said.

        ``records``: of its finished stages, for those who pull an adapter from there.
        """
        address: str | None = self.module.summarise(self.root, summary)
        return address

    def misnamed(self, sweep: str, names: Mapping[str, Finished]) -> dict[str, str]:
        """Alias -> what it means instead of its adapter in the tracker's own registry.  Changes nothing; none without one."""
        return {}

    def rename(self, sweep: str, names: Mapping[str, Finished]) -> None:
        """Let each alias mean its adapter there."""
