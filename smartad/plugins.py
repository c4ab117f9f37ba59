"""Packages whose modules are a choice: benchmarks, corpora, graders, proposers.  A module is found by being there."""

import importlib
import pkgutil
import sys
from functools import cache
from typing import Any

from smartad.types import UserError


def names(package: str) -> list[str]:
    """The modules of ``package``, but for those that begin with an underscore."""
    return sorted(m.name for m in pkgutil.iter_modules(sys.modules[package].__path__) if not m.name.startswith("_"))


@cache
def get(package: str, kind: str, name: str) -> Any:
    """Module ``name`` of ``package``.  Raises UserError naming the others, and the way to add one, when there is none."""
    if name not in names(package):
        raise UserError(f"no {kind} {name!r}; there are {', '.join(names(package))}. "
                        f"To add one, write {package.replace('.', '/')}/{name}.py")
    return importlib.import_module(f"{package}.{name}")
