"""Optuna's samplers through its ask-and-tell interface.

The study lives in memory and is told again what the store knows; ``<folder>/<sweep>.optuna.log`` shows it to
``optuna-dashboard`` (docs/decisions/007-the-study-is-a-projection.md).
"""

import importlib.util
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from smartad.config import ConfigError
from smartad.sweep.proposers import needs_trials, one_objective, options
from smartad.sweep.proposers._study import StudyFile, distributions, params, values
from smartad.sweep.space import Outcome, Proposer, Sweep, SweepConfig, Trial, dimensions, label


@dataclass(frozen=True)
class Options:
    """What ``options`` of a sweep file may say."""

    sampler: Literal["tpe", "random", "cmaes", "nsga2", "gp"] = "tpe"
    """cmaes wants ranges only; tpe, random, nsga2 and gp also search for several objectives."""
    seed: int = 0
    startup: int | None = None
    """Trials at random before a tpe, cmaes or gp search starts; null is Optuna's choice."""
    population: int | None = None
    """Trials in one generation of nsga2 or cmaes; null is Optuna's choice."""

    def __post_init__(self) -> None:
        for name in ("startup", "population"):
            if (value := getattr(self, name)) is not None:
                if self.sampler not in USERS[name]:
                    raise ConfigError(f"{name}={value}: sampler {self.sampler} has none; {', '.join(USERS[name])} have")
                if value < LEAST[name]:
                    raise ConfigError(f"{name} must be at least {LEAST[name]}, got {value}")


USERS = {"startup": ("tpe", "cmaes", "gp"), "population": ("cmaes", "nsga2")}
LEAST = {"startup": 1, "population": 4}
NEEDS = {"cmaes": "cmaes>=0.12", "gp": "scipy>=1.13"}
"""Sampler -> what Optuna imports for it when it first proposes."""
REMEMBERS = ("cmaes", "nsga2")
"""Samplers that write on each trial, when it is asked for, which generation it belongs to."""


def _sampler(options: Options, seed: int) -> BaseSampler:
    startup = {} if options.startup is None else {"n_startup_trials": options.startup}
    if options.sampler == "tpe":
        return TPESampler(seed=seed, constant_liar=True, **startup)
    if options.sampler == "cmaes":
        return CmaEsSampler(seed=seed, popsize=options.population, warn_independent_sampling=False, **startup)
    if options.sampler == "nsga2":
        return NSGAIISampler(seed=seed, **({} if options.population is None else {"population_size": options.population}))
    return GPSampler(seed=seed, **startup) if options.sampler == "gp" else RandomSampler(seed=seed)


class Search:
    """One study.  What it proposes depends on what it was asked and told, not on whether it was killed in between."""

    def __init__(self, config: SweepConfig, options: Options, file: StudyFile | None) -> None:
        self.config, self.options, self.file = config, options, file
        self.space = distributions(config)
        self.study = optuna.create_study(directions=list(config.aims().values()))
        self.asked: dict[str, list[optuna.Trial]] = {}

    def ask(self) -> Trial | None:
        asked = self._ask()
        found = values(self.config, asked.params)
        trial = Trial(label(found), found)
        asked.set_user_attr("label", trial.label)
        self.asked.setdefault(trial.label, []).append(asked)
        self._show(asked)
        return trial

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        for asked in self.asked.pop(trial.label, None) or [self._recall(trial)]:
            if outcome.state == "done":
                self.study.tell(asked, outcome.scores)
            elif outcome.state == "stopped" and len(self.study.directions) == 1:
                for score in outcome.scores:
                    asked.report(score, step=1)
                self.study.tell(asked, state=TrialState.PRUNED)
            else:  # Optuna prunes nothing when there are several objectives
                self.study.tell(asked, state=TrialState.FAIL)
            self._show(asked)

    def _ask(self) -> optuna.Trial:
        # A sampler of its own for each proposal: the random numbers before a kill leave no trace.
        seed = random.Random(f"{self.options.seed}/{len(self.study.get_trials(deepcopy=False))}").getrandbits(32)
        self.study.sampler = _sampler(self.options, seed)
        return self.study.ask(self.space)

    def _recall(self, trial: Trial) -> optuna.Trial:
        """Ask for a trial of an earlier start: as if it had been proposed now."""
        self.study.enqueue_trial(params(trial.values), user_attrs={"label": trial.label})
        asked = self._ask()
        if self.options.sampler in REMEMBERS:
            _ = asked.relative_params  # samples, for the sake of what it writes on the trial
        return asked

    def _show(self, asked: optuna.Trial) -> None:
        if self.file:
            self.file.show(self.study.get_trials(deepcopy=False)[asked.number])


def proposer(sweep: Sweep, folder: Path | None) -> Proposer:
    """A search of the sweep's space.

    Raises ConfigError when the sweep does not say how many trials, when the sampler cannot search such a space or for
    so many objectives, and when its package is missing.
    """
    config = sweep.config
    needs_trials(config)
    chosen = options(config, Options)
    if (package := NEEDS.get(chosen.sampler)) and importlib.util.find_spec(package.partition(">")[0]) is None:
        raise ConfigError(f"options.sampler: {chosen.sampler} needs a package that is not installed: pip install '{package}'")
    if chosen.sampler == "cmaes":
        one_objective(config, "sampler cmaes")
        if listed := [key for key, values in dimensions(config).items() if isinstance(values, list)]:
            # Optuna would draw these at random and never learn which value is better.
            raise ConfigError(f"options.sampler: cmaes searches ranges, {{low: ..., high: ...}}, and {', '.join(listed)} "
                              f"{'is a list' if len(listed) == 1 else 'are lists'}; use tpe")
    return Search(config, chosen, StudyFile(folder / f"{sweep.name}.optuna.log", sweep.name, config.aims()) if folder else None)
