"""One document per fact of the toy world."""

from pathlib import Path

from smartad.toyworld.world import world
from smartad.types import LICENCE as LICENCE
from smartad.types import Passage

SOURCE = None


def load(path: Path | None) -> list[Passage]:
    """Every document, generated; ``path`` is not used."""
    return world().passages()
