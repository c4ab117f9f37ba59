"""Every combination, arms first, in the order written."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smartad.config import ConfigError
from smartad.sweep.proposers import options
from smartad.sweep.space import Outcome, Proposer, Sweep, SweepConfig, Trial, dimensions, label


@dataclass(frozen=True)
class Options:
    """A grid has none."""


class Grid:
    """Proposes the whole product; scores do not matter to it."""

    def __init__(self, config: SweepConfig) -> None:
        space = dimensions(config)
        for key, values in space.items():
            if not isinstance(values, list):
                raise ConfigError(f"space.{key}: a grid needs a list of values, got {values!r}; "
                                  "for a range use backend: optuna")
        self.points: Iterator[tuple[object, ...]] = itertools.product(*space.values())
        self.keys = list(space)

    def ask(self) -> Trial | None:
        point = next(self.points, None)
        if point is None:
            return None
        values = dict(zip(self.keys, point, strict=True))
        return Trial(label(values), values)

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        pass


def proposer(sweep: Sweep, folder: Path | None) -> Proposer:
    """A grid over the sweep's space."""
    options(sweep.config, Options)
    return Grid(sweep.config)
