"""Adapters by name in W&B's registry: one collection per sweep, whose aliases are those of the store's registry.

``SMARTAD_WANDB_REGISTRY`` is the registry (default: the one for models that every organization has), or
``ENTITY/PROJECT``, where there is no organization.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from smartad.fingerprint import file_sha256
from smartad.tracking import wandb, wandb_server
from smartad.types import UserError

REGISTRY = "wandb-registry-model"
CARD = "card"
"""Key of an artifact's metadata, a string: W&B limits how many keys there may be, nested ones included."""
FOLDER = "adapter/"
NEWEST = "newest"
"""W&B itself calls ``latest`` what was added last, so ours has another name there."""


@dataclass(frozen=True)
class Named:
    """What an alias means there."""

    fingerprint: str
    files: list[str]
    """As ``wandb.listing`` gives them."""
    card: Mapping[str, Any] | None
    artifact: Any
    """The SDK's."""


def collection(sweep: str) -> str:
    """Where the adapters of ``sweep`` are named."""
    return f"{os.environ.get('SMARTAD_WANDB_REGISTRY') or REGISTRY}/smartad-{sweep}"


def legal(alias: str) -> str:
    """``alias`` as W&B allows it: without ``:`` and ``/``, and not one of its own."""
    plain = re.sub("[:/]", "-", alias)
    return NEWEST if plain == "latest" else f"alias-{plain}" if re.fullmatch(r"v\d+", plain) else plain


def meaning(sweep: str, aliases: Sequence[str]) -> dict[str, Named]:
    """What each of ``aliases`` means in the collection of ``sweep``; those that mean nothing are left out."""
    found = {alias: _named(f"{collection(sweep)}:{legal(alias)}") for alias in aliases}
    return {alias: named for alias, named in found.items() if named}


def link(source: str, sweep: str, aliases: Sequence[str], card: Mapping[str, Any]) -> None:
    """Let ``aliases`` mean the artifact ``source`` in the collection of ``sweep``, and leave ``card`` with it."""
    import wandb as sdk
    artifact = sdk.Api().artifact(source)
    text = json.dumps(card, ensure_ascii=False, sort_keys=True)
    if artifact.metadata.get(CARD) != text:
        artifact.metadata[CARD] = text
        artifact.save()
    artifact.link(collection(sweep), aliases=[legal(alias) for alias in aliases])


def fetch(name: str, sweep: str | None, folder: Path) -> Named:
    """Download the adapter that ``name``, an alias of ``sweep`` or a fingerprint, means into ``folder/adapter``.

    Raises UserError when there is none, or when a file is not what W&B says that was recorded.
    """
    wandb.prepare(folder)
    entity = wandb_server.check_key()
    if name.startswith("train-"):
        path = f"{entity}/{wandb_server.project_name()}/{name}:latest"
    elif sweep is None:
        raise UserError(f"W&B names adapters sweep by sweep: say whose {name!r} with --sweep")
    else:
        path = f"{collection(sweep)}:{legal(name)}"
    if (named := _named(path)) is None:
        raise UserError(f"there is no {path} in W&B at {wandb_server.server_url()}; {_known(sweep)}"
                        f"`smartad publish` puts there what the store has")
    wanted = dict(_parts(line) for line in named.files)
    named.artifact.download(str(folder), path_prefix=FOLDER, skip_cache=True)
    for file, (sha256, size) in wanted.items():
        if file.startswith(FOLDER):
            _verify(folder / file, sha256, size, path)
    return named


def _parts(line: str) -> tuple[str, tuple[str, int]]:
    sha256, size, name = line.split(" ", 2)
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise UserError(f"W&B names a file outside of its folder: {name!r}; not downloaded")
    return name, (sha256, int(size))


def _verify(file: Path, sha256: str, size: int, path: str) -> None:
    if not file.is_file() or file.stat().st_size != size or file_sha256(file) != sha256:
        what = "is not there" if not file.is_file() else "is not what was recorded: its size or SHA-256 differs"
        raise UserError(f"{file.name} of {path} in W&B {what}. Nothing was pulled; `smartad publish` mends it from the store")


def _named(path: str) -> Named | None:
    import wandb as sdk
    try:
        artifact = sdk.Api().artifact(path)
    except (sdk.errors.CommError, ValueError) as error:
        if re.search("not found|could not be found|does not exist|unable to fetch|no .*artifact", str(error), re.I):
            return None
        raise UserError(f"W&B does not say what {path} is: {error}") from error
    metadata = artifact.metadata or {}
    return Named(artifact.source_name.partition(":")[0], metadata.get("files") or [], json.loads(metadata.get(CARD) or "null"),
                 artifact)


def _known(sweep: str | None) -> str:
    import wandb as sdk
    if sweep is None:
        return ""
    try:
        aliases = sorted(sdk.Api().artifact_collection(wandb.MODEL, collection(sweep)).aliases)
    except (sdk.errors.CommError, ValueError):
        return ""
    return f"it has {', '.join(aliases)}; "
