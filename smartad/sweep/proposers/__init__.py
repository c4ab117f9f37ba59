"""Who proposes trials: one module each, with ``proposer(config: SweepConfig) -> Proposer``.

To add one, write ``smartad/sweep/proposers/<name>.py``; nothing else lists it, and the contract tests take it up.
"""

import importlib
import pkgutil
from typing import cast

from smartad.config import ConfigError
from smartad.sweep.space import Proposer, Sweep


def names() -> list[str]:
    """The proposers there are."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__))


def of(sweep: Sweep) -> Proposer:
    """The proposer that ``sweep`` names.  Raises ConfigError naming the others when there is none."""
    backend = sweep.config.backend
    if backend not in names():
        raise ConfigError(f"{sweep.name}: no backend {backend!r}; there are {', '.join(names())}. "
                          f"To add one, write smartad/sweep/proposers/{backend}.py")
    return cast(Proposer, importlib.import_module(f"{__name__}.{backend}").proposer(sweep.config))
