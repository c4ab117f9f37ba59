"""W&B's own search engine without its server: the package ``sweeps``, whose ``next_run`` is a function of earlier runs.

It pins numpy below 2, so it is an extra: ``smartad[wandb-sweeps]``.
"""

import contextlib
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smartad.config import ConfigError
from smartad.sweep.proposers import options
from smartad.sweep.proposers._wandb import Method, args, search, trial
from smartad.sweep.space import Outcome, Proposer, Sweep, SweepConfig, Trial

STATES = {"done": "finished", "stopped": "killed", "failed": "failed"}


@dataclass(frozen=True)
class Options:
    """What ``options`` of a sweep file may say."""

    method: Method = "bayes"
    seed: int = 0


class Engine:
    """Proposes what ``sweeps.next_run`` makes of the runs so far."""

    def __init__(self, config: SweepConfig, options: Options, search: dict[str, Any]) -> None:
        self.config, self.options, self.search = config, options, search
        self.new_run, self.next_run = _engine()
        self.runs: list[Any] = []
        self.runs_of: dict[str, list[Any]] = {}

    def ask(self) -> Trial | None:
        run = self._next_run()
        if run is None:
            return None
        proposed = trial(self.config, run.config)
        self._add(proposed)
        return proposed

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        if trial.label not in self.runs_of:  # of an earlier start
            self._add(trial)
        for run in self.runs_of[trial.label]:
            run.state = STATES[outcome.state]
            if outcome.state == "done":
                run.summary_metrics = {self.search["metric"]["name"]: outcome.scores[0]}

    def _add(self, trial: Trial) -> None:
        self.runs.append(self.new_run(config=args(trial), state="running"))
        self.runs_of.setdefault(trial.label, []).append(self.runs[-1])

    def _next_run(self) -> Any:
        # Seeded anew each time: what it proposes depends on the runs so far, not on who was asked before a kill.
        with _seeded(f"{self.options.seed}/{len(self.runs)}"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn, whenever a length scale is at its bound
            return self.next_run(self.search, self.runs, validate=True)


@contextlib.contextmanager
def _seeded(seed: str) -> Iterator[None]:
    """The engine draws from the global generators of Python and of numpy: for as long as this lasts, they are its own."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(random.getrandbits(32))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _engine() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is written for an older pydantic, and says so
            from sweeps import SweepRun, next_run  # not `import sweeps`, which would be content with a folder of that name
    except ImportError as error:
        raise ConfigError("backend wandb needs W&B's search engine, which is not installed: "
                          "pip install 'smartad[wandb-sweeps]' (Python 3.11 or 3.12)") from error
    return SweepRun, next_run


def proposer(sweep: Sweep, folder: Path | None) -> Proposer:
    """W&B's search of the sweep's space.

    Raises ConfigError when the method cannot search such a space, for several objectives, and without the package.
    """
    chosen = options(sweep.config, Options)
    return Engine(sweep.config, chosen, search(sweep, chosen.method))
