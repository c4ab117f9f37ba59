"""Optuna's TPE through its ask-and-tell interface.  The study lives in memory: the ledger is the store."""

from typing import Any

import optuna

from smartad.sweep.space import Proposer, SweepConfig, Trial, dimensions, label


class Tpe:
    """Tree-structured Parzen estimator; constant_liar keeps parallel proposals apart."""

    def __init__(self, config: SweepConfig) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space = {key: _distribution(values) for key, values in dimensions(config).items()}
        self.left = config.trials if config.trials is not None else 50
        self.study = optuna.create_study(direction=config.direction,
                                         sampler=optuna.samplers.TPESampler(seed=0, constant_liar=True))
        self.asked: dict[str, list[int]] = {}

    def ask(self) -> Trial | None:
        if self.left <= 0:
            return None
        self.left -= 1
        asked = self.study.ask(self.space)
        trial = Trial(label(asked.params), dict(asked.params))
        self.asked.setdefault(trial.label, []).append(asked.number)
        return trial

    def tell(self, trial: Trial, score: float | None) -> None:
        state = optuna.trial.TrialState.FAIL if score is None else optuna.trial.TrialState.COMPLETE
        if numbers := self.asked.get(trial.label):
            self.study.tell(numbers.pop(), score, state=state)
        else:  # of an earlier start
            self.left -= 1
            self.study.add_trial(optuna.trial.create_trial(params=dict(trial.values), distributions=self.space,
                                                           value=score, state=state))


def _distribution(values: Any) -> optuna.distributions.BaseDistribution:
    if isinstance(values, list):
        return optuna.distributions.CategoricalDistribution(values)
    whole = isinstance(values["low"], int) and isinstance(values["high"], int)
    kind = optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
    return kind(values["low"], values["high"], log=values.get("log", False))


def proposer(config: SweepConfig) -> Proposer:
    """TPE over ``config``."""
    return Tpe(config)
