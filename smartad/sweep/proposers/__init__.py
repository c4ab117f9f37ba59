"""Who proposes trials: one module each, with ``proposer(sweep: Sweep, folder: Path | None) -> Proposer``.

To add one, write ``smartad/sweep/proposers/<name>.py``; nothing else lists it, and the contract tests take it up.  Its
options are a frozen dataclass beside it, read with ``options``.
"""

import dataclasses
from pathlib import Path
from typing import TypeVar, cast

from smartad import plugins
from smartad.config import ConfigError, load, override
from smartad.sweep.space import Proposer, Sweep, SweepConfig
from smartad.types import UserError

T = TypeVar("T")


def names() -> list[str]:
    """The proposers there are."""
    return plugins.names(__name__)


def of(sweep: Sweep, folder: Path | None = None) -> Proposer:
    """The proposer that ``sweep`` names.  ``folder``: where it may keep files; None is nowhere, and no server is asked.

    Raises ConfigError for what the proposer cannot search, and naming the others when there is none of that name.
    """
    try:
        return cast(Proposer, plugins.get(__name__, "backend", sweep.config.backend).proposer(sweep, folder))
    except UserError as error:
        raise ConfigError(f"{sweep.name}: {error}") from error


def options(config: SweepConfig, schema: type[T]) -> T:
    """``config.options`` as a ``schema``.  Raises ConfigError naming the options there are."""
    known = [field.name for field in dataclasses.fields(schema)]  # type: ignore[arg-type]
    for key in config.options:
        if key not in known:
            raise ConfigError(f"options.{key}: backend {config.backend} has no such option; "
                              f"there are {', '.join(known) or 'none'}")
    try:
        return load(schema, [override(key, value) for key, value in config.options.items()])
    except ConfigError as error:
        raise ConfigError(f"options.{error}") from error


def needs_trials(config: SweepConfig) -> None:
    """Raise ConfigError when ``config`` does not say how many trials: a search has no end of its own."""
    if config.trials is None:
        raise ConfigError(f"backend {config.backend} needs `trials`: how many proposals at most")


def one_objective(config: SweepConfig, who: str) -> None:
    """Raise ConfigError when ``config`` has several objectives, of which ``who`` can do one."""
    if len(config.aims()) > 1:
        raise ConfigError(f"{who} searches for one objective, not for {', '.join(config.aims())}; "
                          "for several use backend: optuna with options.sampler: nsga2")
