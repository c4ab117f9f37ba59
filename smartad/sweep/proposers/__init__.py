"""Who proposes trials: one module each, with ``proposer(sweep: Sweep, folder: Path | None) -> Proposer``.

To add one, write ``smartad/sweep/proposers/<name>.py``; nothing else lists it, and the contract tests take it up.
"""

from pathlib import Path
from typing import cast

from smartad import plugins
from smartad.config import ConfigError
from smartad.sweep.space import Proposer, Sweep
from smartad.types import UserError


def names() -> list[str]:
    """The proposers there are."""
    return plugins.names(__name__)


def of(sweep: Sweep, folder: Path | None = None) -> Proposer:
    """The proposer that ``sweep`` names.  ``folder``: where it may keep files; None is nowhere.

    Raises ConfigError naming the others when there is none."""
    try:
        return cast(Proposer, plugins.get(__name__, "backend", sweep.config.backend).proposer(sweep, folder))
    except UserError as error:
        raise ConfigError(f"{sweep.name}: {error}") from error
