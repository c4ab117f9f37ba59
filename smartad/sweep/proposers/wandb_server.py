"""A sweep on a W&B server, whose agent is the driver: the server says what to try, the trial's stages run as everywhere.

The server's state is its own, so it cannot be made to repeat itself.  ``<folder>/<sweep>.wandb`` says which sweep it is; what
has been tried is asked of the server.  Tested with a double of it, never with a real account.
"""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from smartad.fingerprint import digest
from smartad.sweep.proposers import options
from smartad.sweep.proposers._wandb import Method, args, search, trial
from smartad.sweep.space import Outcome, Proposer, Sweep, SweepConfig, Trial, corners
from smartad.tracking import wandb_sweeps
from smartad.tracking.wandb_sweeps import ServerSweep, SweepRun

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What ``options`` of a sweep file may say."""

    method: Method = "bayes"


class Agent:
    """Passes on what the server proposes, and reports each trial's outcome as its run's summary."""

    def __init__(self, config: SweepConfig, search: dict[str, Any], file: Path) -> None:
        self.config, self.search, self.file = config, search, file
        self.ids: dict[str, list[str]] = {}
        """Label -> its runs: a search may come back to a point."""
        self.outcomes: dict[str, str | None] = {}
        """Run id -> how it was reported to have ended."""
        self.again: list[Trial] = []
        """Proposed to a driver that may have died before it wrote them down."""

    @cached_property
    def server(self) -> ServerSweep:
        # Not before it is needed: what only looks at a sweep must not create one.
        server = ServerSweep(self.search, self.file, self.file.parent.parent)
        logger.warning("W&B sweep %s", server.address.url)  # everyone is to see it
        for run in server.runs():
            proposed = self._note(run)
            if run.outcome is None:
                self.again.append(proposed)
        return server

    def ask(self) -> Trial | None:
        server = self.server
        if self.again:
            return self._begin(self.again.pop(0))
        run = server.next_run()
        if run is None:
            return None
        return self._begin(self._note(run))

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        server = self.server
        metrics = {self.search["metric"]["name"]: outcome.scores[0]} if outcome.state == "done" else {}
        for id in self.ids.setdefault(trial.label, [f"known-{digest(trial.label)}"]):
            if self.outcomes.get(id) != outcome.state:  # it may have been told before a restart
                server.end(id, args(trial), trial.label, outcome.state, metrics)
                self.outcomes[id] = outcome.state

    def _note(self, run: SweepRun) -> Trial:
        proposed = trial(self.config, run.args)
        self.ids.setdefault(proposed.label, []).append(run.id)
        self.outcomes[run.id] = run.outcome
        return proposed

    def _begin(self, trial: Trial) -> Trial:
        for id in self.ids[trial.label]:
            if self.outcomes[id] is None:
                self.server.begin(id, args(trial), trial.label)
        return trial


class Plan:
    """Stands in for a server that must not be asked: trials that between them use every value and bound."""

    def __init__(self, config: SweepConfig) -> None:
        self.trials = corners(config)[:config.trials]

    def ask(self) -> Trial | None:
        return self.trials.pop(0) if self.trials else None

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        pass


def proposer(sweep: Sweep, folder: Path | None) -> Proposer:
    """The agent of a sweep on the server.

    Raises ConfigError when the method cannot search such a space, and for several objectives; UserError where W&B is not set up.
    """
    found = search(sweep, options(sweep.config, Options).method)
    wandb_sweeps.check()
    return Agent(sweep.config, found, folder / f"{sweep.name}.wandb") if folder else Plan(sweep.config)
