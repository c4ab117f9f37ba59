"""What every proposer is tried with: a space that it can search, and outcomes of its trials."""

import warnings

import yaml

from smartad.sweep import proposers
from smartad.sweep.space import Outcome, Trial, read

LISTED = {"select.rule": ["min", "max"], "select.first": [1, 5, 10]}
RANGES = {"train.weights.final": {"low": 1.0, "high": 4.0}, "train.rank": {"low": 1, "high": 64, "log": True}}
MIXED = {"select.rule": ["min", "max"], **RANGES}
BOTH = {"avg": "maximize", "pass@1/toy_qa": "minimize"}

CASES = {
    "grid": ("grid", {}, LISTED),
    "tpe": ("optuna", {}, MIXED),
    "random": ("optuna", {"sampler": "random"}, MIXED),
    "cmaes": ("optuna", {"sampler": "cmaes", "population": 4}, RANGES),
    "nsga2": ("optuna", {"sampler": "nsga2", "population": 4}, MIXED),
    "gp": ("optuna", {"sampler": "gp", "startup": 3}, MIXED),
    "wandb-grid": ("wandb", {"method": "grid"}, LISTED),
    "wandb-random": ("wandb", {"method": "random"}, MIXED),
    "wandb-bayes": ("wandb", {}, MIXED),
}
"""Name -> backend, its options, a space it can search."""


try:
    with warnings.catch_warnings(action="ignore"):
        from sweeps import next_run  # noqa: F401
except ImportError:  # there is none for Python 3.13
    CASES = {name: case for name, case in CASES.items() if case[0] != "wandb"}
GRIDS = [name for name in CASES if "grid" in name]
SERVER = {"server": ("wandb_server", {"method": "grid"}, LISTED), "server-bayes": ("wandb_server", {}, MIXED)}
ALL = {**CASES, **SERVER}


def declare(folder, **keys):
    """The sweep that a file in ``folder`` declares."""
    path = folder / "declared.yaml"
    path.write_text(yaml.safe_dump(keys, sort_keys=False))
    return read(str(path))


def proposer_of(case, tmp_path, folder=None, **keys):
    """The proposer of a case, which keeps its files in ``folder``."""
    backend, options, space = ALL[case]
    return proposers.of(declare(tmp_path, backend=backend, options=options, **{"space": space, "trials": 12, **keys}), folder)


def score(trial):
    """Best at final=3, rank=16; an easy hill."""
    values = trial.values
    if "select.first" in values:
        return float(values["select.first"])
    return -abs(values["train.weights.final"] - 3) - abs(values["train.rank"] - 16) / 16


def outcome(trial, number):
    """Every third trial ends otherwise."""
    return [Outcome("done", (score(trial),)), Outcome("stopped", (-1.0,)), Outcome("failed")][number % 3]


def go(proposer, n, first=0, tell=outcome):
    """The next ``n`` trials, each told before the next is asked for."""
    trials = []
    for number in range(first, first + n):
        trials.append(proposer.ask())
        proposer.tell(trials[-1], tell(trials[-1], number))
    return trials


def known(case):
    """A trial of the case's space that nobody has asked for."""
    values = {key: v[0] if isinstance(v, list) else v["low"] for key, v in ALL[case][2].items()}
    return Trial("of an earlier start", values)
