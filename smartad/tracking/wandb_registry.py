"""Adapters by name in W&B's registry: one collection per sweep, whose aliases are those of the store's registry.

``SMARTAD_WANDB_REGISTRY`` is the registry (default: the one for models that every organization has), or
``ENTITY/PROJECT``, where there is no organization.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from smartad.fingerprint import FINGERPRINT, file_sha256
from smartad.records import read_json, write_json
from smartad.tracking import wandb, wandb_server
from smartad.types import UserError

REGISTRY = "wandb-registry-model"
NEWEST = "newest"
"""W&B itself calls ``latest`` what was added last, so ours has another name there."""


@dataclass(frozen=True)
class Named:
    """What an alias means there."""

    fingerprint: str
    files: list[str]
    """As ``wandb.listing`` gives them."""
    sweep: str | None
    """The one that it was run for."""
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


def link(source: str, sweep: str, aliases: Sequence[str]) -> None:
    """Let ``aliases`` mean the artifact ``source`` in the collection of ``sweep``."""
    import wandb as sdk
    sdk.Api().artifact(source).link(collection(sweep), aliases=[legal(alias) for alias in aliases])


def fetch(name: str, sweep: str | None, root: Path) -> str:
    """Make the empty folder ``root`` a store of the adapter that ``name`` means, and of the records of its sweep.

    ``name``: an alias of ``sweep``, or a fingerprint, which is returned.  Every file is what W&B says was recorded of it.
    Raises UserError when one is not, and when there is no such adapter.
    """
    wandb.prepare(root)
    project = f"{wandb_server.check_key()}/{wandb_server.project_name()}"
    if not name.startswith("train-") and sweep is None:
        raise UserError(f"W&B names adapters sweep by sweep: say whose {name!r} with --sweep")
    path = f"{project}/{name}:latest" if name.startswith("train-") else f"{collection(str(sweep))}:{legal(name)}"
    if (named := _named(path)) is None:
        raise UserError(f"there is no {path} in W&B at {wandb_server.server_url()}{_known(sweep)}. "
                        "`smartad publish` puts there what a store has")
    _download(named.artifact, root / named.fingerprint, named.files, path)
    source = f"{named.artifact.source_entity}/{named.artifact.source_project}"
    _fetch_records(f"{source}/sweep-{sweep or named.sweep}:latest", named, root)
    return named.fingerprint


def _download(artifact: Any, to: Path, listing: Sequence[str], path: str) -> None:
    wanted = dict(_parts(line) for line in listing)
    for name in artifact.manifest.entries:
        _inside(name)
    artifact.download(str(to), skip_cache=True)
    for name, (sha256, size) in wanted.items():
        file = to / name
        if not file.is_file() or file.stat().st_size != size or file_sha256(file) != sha256:
            what = "is not there" if not file.is_file() else "is not what was recorded: its size or SHA-256 differs"
            raise UserError(f"{name} of {path} in W&B {what}. Nothing was pulled; pull from the store, or have it publish again")


def _fetch_records(path: str, named: Named, root: Path) -> None:
    import wandb as sdk
    try:
        folder = sdk.Api().artifact(path).download(str(root / "records"), skip_cache=True)
    except (sdk.errors.CommError, ValueError) as error:
        raise UserError(f"{path}, with the records of {named.fingerprint}, is not in W&B: {error}. "
                        "`smartad publish` puts it there") from error
    for line in (Path(folder) / wandb.RECORDS).read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if not FINGERPRINT.fullmatch(record["fingerprint"]):
            raise UserError(f"{path} in W&B has a record of {record['fingerprint']!r}, which is no fingerprint")
        (root / record["fingerprint"]).mkdir(exist_ok=True)
        write_json(root / record["fingerprint"] / "record.json", record)
    record = read_json(root / named.fingerprint / "record.json")
    if record is None or wandb.listing(record["files"]) != named.files:
        raise UserError(f"{path} in W&B knows no {named.fingerprint} with these files; `smartad publish` brings it up to date")


def _parts(line: str) -> tuple[str, tuple[str, int]]:
    sha256, size, name = line.split(" ", 2)
    return _inside(name), (sha256, int(size))


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise UserError(f"W&B names a file outside of its folder: {name!r}; not downloaded")
    return name


def _named(path: str) -> Named | None:
    import wandb as sdk
    try:
        artifact = sdk.Api().artifact(path)
    except (sdk.errors.CommError, ValueError) as error:
        if re.search("not found|could not be found|does not exist|unable to fetch|no .*artifact", str(error), re.I):
            return None
        raise UserError(f"W&B does not say what {path} is: {error}") from error
    metadata, fingerprint = artifact.metadata or {}, artifact.source_name.partition(":")[0]
    if not FINGERPRINT.fullmatch(fingerprint):
        raise UserError(f"{path} is {fingerprint!r} in W&B, which is no adapter of smartad's")
    return Named(fingerprint, metadata.get("files") or [], metadata.get("sweep"), artifact)


def _known(sweep: str | None) -> str:
    import wandb as sdk
    if sweep is None:
        return ""
    try:
        aliases = sorted(sdk.Api().artifact_collection(wandb.MODEL, collection(sweep)).aliases)
    except (sdk.errors.CommError, ValueError):
        return ""
    return f", which has {', '.join(aliases)}"
