"""A sweep as W&B's search engine sees it, on a server or without one."""

from collections.abc import Mapping
from typing import Any, Literal

from smartad.config import ConfigError
from smartad.sweep.proposers import needs_trials, one_objective
from smartad.sweep.space import Sweep, SweepConfig, Trial, dimensions, label

Method = Literal["grid", "random", "bayes"]
"""Of W&B's three, bayes is the one that learns; failed and stopped trials are to it as bad as the worst that finished."""


def search(sweep: Sweep, method: Method) -> dict[str, Any]:
    """``sweep`` as W&B writes one.  Raises ConfigError for what ``method`` cannot search."""
    config = sweep.config
    one_objective(config, f"backend {config.backend}")
    if method != "grid":
        needs_trials(config)
    ((metric, goal),) = config.aims().items()
    return {"name": sweep.name, "method": method, "metric": {"name": metric, "goal": goal},
            "parameters": {key: _parameter(key, values, method) for key, values in dimensions(config).items()}}


def trial(config: SweepConfig, args: Mapping[str, Mapping[str, Any]]) -> Trial:
    """The trial that W&B's ``{key: {value: ...}}`` means."""
    values = {key: _value(declared, args[key]["value"]) for key, declared in dimensions(config).items()}
    return Trial(label(values), values)


def args(trial: Trial) -> dict[str, dict[str, Any]]:
    """``trial`` as W&B writes it."""
    return {key: {"value": value} for key, value in trial.values.items()}


def _parameter(key: str, values: Any, method: Method) -> dict[str, Any]:
    if isinstance(values, list):
        return {"values": values}
    if method == "grid":
        raise ConfigError(f"space.{key}: a grid needs a list of values, got {values!r}; for a range use options.method: bayes")
    low, high = values["low"], values["high"]
    if not _whole(values):
        return {"distribution": "log_uniform_values" if values.get("log") else "uniform", "min": float(low), "max": float(high)}
    if values.get("log"):
        return {"distribution": "q_log_uniform_values", "q": 1, "min": low, "max": high}
    return {"distribution": "int_uniform", "min": low, "max": high}


def _value(declared: Any, found: Any) -> Any:
    if isinstance(declared, list):  # as it was declared: on its way 1.0 may have become 1, and a string one of numpy's
        return next(value for value in declared if value == found)
    number = min(max(float(found), declared["low"]), declared["high"])  # a rounded logarithm may lie beyond
    return round(number) if _whole(declared) else number


def _whole(bounds: Mapping[str, Any]) -> bool:
    return isinstance(bounds["low"], int) and isinstance(bounds["high"], int)
