"""Copies of adapters to take away: checked, described, and never for another base model than their own."""

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smartad import registry
from smartad.dialect import PROMPTS
from smartad.models import identify, locate
from smartad.records import read_json, to_json
from smartad.registry.card import MERGED, card
from smartad.registry.provenance import About, about
from smartad.stage import Runtime
from smartad.store import Store, fault, seen
from smartad.types import Merged, UserError

CARD = "smartad.json"
FORMAT = 2
"""Of ``smartad.json``."""
CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Pulled:
    """A copy of an adapter."""

    about: About
    folder: Path
    loads_from: str
    """What ``adapter_config.json`` now calls the base model: a path or hub id that transformers loads here."""
    merged: Merged | None


def pull(store: Store, name: str, to: Path, *, models: Mapping[str, str], sweep: str | None = None,
         merge: Runtime | None = None) -> Pulled:
    """Copy the adapter ``name`` (alias or fingerprint) to the folder ``to``, whole or not at all.

    ``models``: identity -> folder of a local base model (see ``models.locate``).  ``merge``: also make the full model, in
    ``to``/merged, with what this has.  An earlier pull in ``to`` is replaced; any other content is not.  Raises UserError,
    naming it, for everything that is missing, damaged, or not what it claims to be.
    """
    fingerprint = registry.resolve(store, name, sweep)
    files = registry.check(store, fingerprint)
    recorded = store.record(fingerprint)["files"]
    known = about(store, fingerprint, models)
    refuse_other_base(known.base, models)
    _check_target(to)
    temporary = to.absolute().parent / f".{to.absolute().name}.{uuid.uuid4().hex[:8]}.pull"
    try:
        temporary.mkdir(parents=True)
        for file in files:
            copy = temporary / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(store.folder(fingerprint) / registry.ADAPTER / file, copy)
            _refuse_fault(copy, recorded[f"{registry.ADAPTER}/{file}"])
        loads_from = _rewrite_base(temporary, known.base, models)
        merged = _merge(temporary, known, merge) if merge else None
        _describe(temporary, known, name, merged)
        _swap(temporary, to.absolute())
    except OSError as error:
        raise UserError(f"cannot pull to {to}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Pulled(known, to, loads_from, merged)


def read(folder: Path) -> dict[str, Any]:
    """``smartad.json`` of a pulled adapter, its files checked.

    Keys: those of ``provenance.About``, alias, merged, files.  Raises UserError when ``folder`` is no pulled adapter, or a
    file of it is missing or has changed.
    """
    found = _card(folder)
    if found is None:
        raise UserError(f"{folder} is not a pulled adapter (no {CARD}); `smartad pull best --to {folder}` makes one")
    for file, expected in found["files"].items():
        _refuse_fault(folder / file, expected)
    return found


def base_folders(folder: Path, base: str, named: Iterable[str]) -> dict[str, str]:
    """Identity -> folder of the base model of the pulled adapter in ``folder``, if it is a local one.

    ``named``: folders that the user gave; without any, the one it was pulled with.  Raises UserError when what is there is
    another model than ``base``, naming both.
    """
    pulled_with = (read_json(folder / CONFIG) or {}).get("base_model_name_or_path", "")
    if not named and base.startswith("local/") and Path(pulled_with).is_dir():
        named = [pulled_with]
    folders = {identify(model): model for model in named}
    refuse_other_base(base, folders)
    return folders


def refuse_other_base(base: str, folders: Mapping[str, str]) -> None:
    """Raise UserError when one of ``folders``, given for the base model, holds another one than ``base``."""
    for identity, folder in folders.items():
        if identity != base:
            raise UserError(f"the adapter was trained on {base}, and {folder} is {identity}: on another base model it would be "
                            "another student. Name the folder that it was trained on with --model FOLDER, or leave --model out")


def _refuse_fault(path: Path, recorded: Any) -> None:
    if wrong := fault(path, recorded):
        raise UserError(f"{wrong}; pull it again")


def _check_target(to: Path) -> None:
    if to.is_symlink() or (to.exists() and not to.is_dir()):
        raise UserError(f"{to} is not a folder; pull to a new one")
    if to.is_dir() and any(to.iterdir()) and not (to / CARD).is_file():
        raise UserError(f"{to} has other things in it; pull to a new folder, or empty this one")


def _card(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise UserError(f"{folder / CARD} is damaged ({error}); delete the folder and pull again") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UserError(f"{folder / CARD} is not of format {FORMAT}: it was written by another version; pull again")
    return found


def _rewrite_base(folder: Path, base: str, models: Mapping[str, str]) -> str:
    """Name the base model so that PEFT finds it here; what it is loaded from."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if (named := config.get("base_model_name_or_path")) != base:
        raise UserError(f"the adapter's {CONFIG} names the base model {named}, and its record says that it was trained on "
                        f"{base}: not copied")
    loads_from, revision = locate(base, models)
    (folder / CONFIG).write_text(json.dumps({**config, "base_model_name_or_path": loads_from, "revision": revision}, indent=2,
                                            sort_keys=True) + "\n", encoding="utf-8")
    return loads_from


def _merge(folder: Path, known: About, runtime: Runtime) -> Merged:
    from smartad.engines import merging

    return merging.merge(known.base, folder, folder / MERGED, PROMPTS[known.recipe["train"]["prompt"]], runtime)


def _describe(folder: Path, known: About, alias: str, merged: Merged | None) -> None:
    """Write ``smartad.json`` for programs and ``README.md`` for people."""
    (folder / "README.md").write_text(card(known, alias, merged), encoding="utf-8")
    files = {p.relative_to(folder).as_posix(): seen(p) for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".md"}
    text = {"format": FORMAT, **to_json(known), "alias": alias, "merged": to_json(merged), "files": files}
    (folder / CARD).write_text(json.dumps(text, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _swap(new: Path, to: Path) -> None:
    """Put ``new`` in the place of ``to``, which is missing, empty, or an earlier pull."""
    if not to.exists() or not any(to.iterdir()):
        os.replace(new, to)  # also over an empty folder
        return
    old = new.with_suffix(".old")
    os.replace(to, old)
    os.replace(new, to)
    shutil.rmtree(old)
