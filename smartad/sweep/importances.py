"""Which keys of a sweep its scores depend on, for a search and a grid alike."""

import warnings

import optuna

from smartad.store import Store
from smartad.sweep.ledger import Ledger
from smartad.sweep.proposers._study import distributions, params
from smartad.sweep.space import SweepConfig

LEAST = 10
"""Finished trials below which nothing is said."""
BEST = 5
"""The method wants to see at least so many good trials (docs of optuna.importance.PedAnovaImportanceEvaluator)."""


def importances(store: Store, book: Ledger) -> dict[str, float]:
    """dotted.key -> how much of what sets the best trials apart lies in it; the most important first, all together 1.

    PED-ANOVA (Watanabe et al., 2023).  With several objectives the best are those nearest to the Pareto front.  Empty
    while there are fewer than LEAST finished trials, and when no key matters.
    """
    aims = book.config["objectives"] or {book.config["metric"]: book.config["direction"]}
    space = distributions(SweepConfig(arms=book.config["arms"], space=book.config["space"]))
    study = optuna.create_study(directions=list(aims.values()))
    for trial in book.trials:
        scores = [trial.score(store, metric) for metric in aims]
        if None not in scores:
            study.add_trial(optuna.trial.create_trial(params=params(trial.values), distributions=space, values=scores))
    finished = len(study.get_trials(deepcopy=False))
    if finished < LEAST:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, BEST / finished))
    with warnings.catch_warnings(action="ignore"):  # left to itself it makes equal shares of nothing, and says so
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)
    total = sum(found.values())
    return {key: value / total for key, value in found.items()} if total > 0 else {}
