"""Optuna's TPE through its ask-and-tell interface.  The study lives in memory: the ledger is the store."""

from pathlib import Path
from typing import Any

import optuna

from smartad.config import ConfigError
from smartad.sweep.space import Outcome, Proposer, Sweep, SweepConfig, Trial, dimensions, label


class Tpe:
    """Tree-structured Parzen estimator; constant_liar keeps parallel proposals apart."""

    def __init__(self, config: SweepConfig) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space = {key: _distribution(values) for key, values in dimensions(config).items()}
        self.study = optuna.create_study(direction=config.direction)
        self.asked: dict[str, list[int]] = {}

    def ask(self) -> Trial | None:
        # A sampler of its own for each proposal: what it proposes depends on what is known, not on who was asked before a kill.
        self.study.sampler = optuna.samplers.TPESampler(seed=len(self.study.trials), constant_liar=True)
        asked = self.study.ask(self.space)
        trial = Trial(label(asked.params), dict(asked.params))
        self.asked.setdefault(trial.label, []).append(asked.number)
        return trial

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        state = optuna.trial.TrialState.COMPLETE if outcome.state == "done" else optuna.trial.TrialState.FAIL
        score = outcome.scores[0] if outcome.state == "done" else None
        if numbers := self.asked.get(trial.label):
            self.study.tell(numbers.pop(), score, state=state)
        else:  # of an earlier start
            self.study.add_trial(optuna.trial.create_trial(params=dict(trial.values), distributions=self.space,
                                                           value=score, state=state))


def _distribution(values: Any) -> optuna.distributions.BaseDistribution:
    if isinstance(values, list):
        return optuna.distributions.CategoricalDistribution(values)
    whole = isinstance(values["low"], int) and isinstance(values["high"], int)
    kind = optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
    return kind(values["low"], values["high"], log=values.get("log", False))


def proposer(sweep: Sweep, folder: Path | None) -> Proposer:
    """TPE over the sweep's space.  Raises ConfigError when it does not say how many trials: a search has no end of its own."""
    if sweep.config.trials is None:
        raise ConfigError("backend optuna needs `trials`: how many proposals at most")
    return Tpe(sweep.config)
