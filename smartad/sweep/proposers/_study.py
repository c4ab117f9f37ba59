"""A sweep as Optuna sees it: its space, and the file that optuna-dashboard opens."""

import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, create_trial

from smartad.sweep.space import Direction, SweepConfig, dimensions

logger = logging.getLogger(__name__)
optuna.logging.set_verbosity(optuna.logging.WARNING)


def distributions(config: SweepConfig) -> dict[str, BaseDistribution]:
    """dotted.key -> what Optuna draws its value from."""
    return {key: _distribution(values) for key, values in dimensions(config).items()}


def params(values: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's values as Optuna's parameters.  It takes scalars only, so anything else travels as its JSON."""
    return {key: _scalar(value) for key, value in values.items()}


def values(config: SweepConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    """The trial's values that Optuna's parameters stand for."""
    return {key: next(v for v in declared if _scalar(v) == params[key]) if isinstance(declared, list) else params[key]
            for key, declared in dimensions(config).items()}


def _distribution(values: Any) -> BaseDistribution:
    if isinstance(values, list):
        return CategoricalDistribution([_scalar(value) for value in values])
    whole = isinstance(values["low"], int) and isinstance(values["high"], int)
    kind = IntDistribution if whole else FloatDistribution
    return kind(values["low"], values["high"], log=values.get("log", False))


def _scalar(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else json.dumps(value)


class StudyFile:
    """A journal of one study, for whoever looks at it; nobody reads it back.  Written anew by every start of the sweep.

    What goes wrong with it is said once and then left alone: the search does not depend on it.
    """

    def __init__(self, path: Path, name: str, aims: Mapping[str, Direction]) -> None:
        self.path, self.name, self.aims = path.absolute(), name, dict(aims)
        self._storage: JournalStorage | None = None
        self._ids: dict[int, int] = {}
        self._broken = False

    def show(self, trial: FrozenTrial) -> None:
        """Add ``trial``, or how it ended.  Trials come in the order of their numbers."""
        if self._broken:
            return
        try:
            self._show(trial)
        # Whoever looks may also delete the study, or end its trials; a lock that was taken away is a RuntimeError.
        except (OSError, KeyError, RuntimeError, optuna.exceptions.OptunaError) as error:
            self._broken = True
            logger.warning("%s is no longer kept up to date (%s: %s). The search goes on without it, and the next start of "
                           "the sweep writes it anew", self.path, type(error).__name__, error)

    def _show(self, trial: FrozenTrial) -> None:
        # Not before there is something to show: a driver that finds another one at work must leave its file alone.
        storage = self._storage = self._storage or self._anew()
        if trial.number in self._ids:
            for step, value in trial.intermediate_values.items():
                storage.set_trial_intermediate_value(self._ids[trial.number], step, value)
            storage.set_trial_state_values(self._ids[trial.number], trial.state, trial.values)
        else:
            # Without what the sampler remembers on its trials, which nobody wants to look at.
            shown = create_trial(state=trial.state, values=trial.values, params=trial.params, distributions=trial.distributions,
                                 user_attrs=trial.user_attrs, intermediate_values=trial.intermediate_values)
            study = storage.get_study_id_from_name(self.name)
            self._ids[trial.number] = storage.create_new_trial(study, template_trial=shown)

    def _anew(self) -> JournalStorage:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A killed driver leaves half a line, a lock, and trials that would be running for ever.
        for old in (self.path, self.path.with_name(self.path.name + ".lock")):
            old.unlink(missing_ok=True)
        storage = JournalStorage(JournalFileBackend(str(self.path), JournalFileOpenLock(str(self.path))))
        study = optuna.create_study(storage=storage, study_name=self.name, directions=list(self.aims.values()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(self.aims))
        return storage
