"""Names for finished adapters, and copies of them to take away.

``<store>/registry.jsonl`` is an append-only ledger, one line per decision; the last line for an alias is what it means.
``pull`` copies an adapter out of the store, checked before and after against the checksums of its record.
"""

import getpass
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from smartad.fingerprint import file_sha256
from smartad.models import locate
from smartad.records import append_jsonl, from_json, read_partial_jsonl
from smartad.types import UserError

LEDGER = "registry.jsonl"
ADAPTER = "adapter"
CARD = "smartad.json"
FORMAT = 1
"""Of ``smartad.json``."""
ALIAS = re.compile(r"[A-Za-z0-9][\w.@+/-]*(:[\w.@+/-]+)?")
FINGERPRINT = re.compile(r"[a-z_]+-[0-9a-f]{12}")


@dataclass(frozen=True)
class Entry:
    """One line of the ledger: since ``time``, ``alias`` means ``fingerprint``."""

    time: float
    """Seconds since the epoch."""
    alias: str
    """``best:<metric>``, ``latest``, or a name of your own."""
    fingerprint: str
    """A finished train stage."""
    metric: str | None
    value: float | None
    """What ``metric`` was when it was chosen."""
    by: str
    """Who chose: a user's name, or ``sweep``."""
    reason: str
    sweep: str | None


@dataclass(frozen=True)
class Pulled:
    """A copy of an adapter."""

    fingerprint: str
    folder: Path
    base: str
    """The base model's identity."""
    loads_from: str
    """What ``adapter_config.json`` now calls it: a path or hub id that transformers loads here."""


def promote(store: Path, alias: str, fingerprint: str, *, reason: str, metric: str | None = None,
            value: float | None = None, by: str | None = None, sweep: str | None = None) -> Entry:
    """Let ``alias`` mean ``fingerprint`` from now on.  ``by`` defaults to the user's name.

    Raises UserError for an alias that could be mistaken for something else, or an output that is no finished adapter.
    """
    if not ALIAS.fullmatch(alias) or FINGERPRINT.fullmatch(alias):
        raise UserError(f"{alias!r} cannot be an alias: use letters, digits and . _ @ + / -, as in best:pass@1")
    _record(store, fingerprint)
    entry = Entry(time.time(), alias, fingerprint, metric, value, by or _user(), reason, sweep)
    read_partial_jsonl(store / LEDGER, Entry)  # cuts the torn line of a killed writer, or ours would be glued to it
    append_jsonl(store / LEDGER, [entry])
    return entry


def entries(store: Path, sweep: str | None = None) -> list[Entry]:
    """The ledger, oldest first; only what was decided for ``sweep`` if that is given."""
    path = store / LEDGER
    # What follows the last newline is a line that somebody is writing, or did not get to finish.
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(from_json(Entry, json.loads(line)))
        except ValueError as error:
            raise UserError(f"{path}:{number} is not an entry of the registry: {error}") from error
    return [entry for entry in found if sweep in (None, entry.sweep)]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return f"uid {os.getuid()}"


def resolve(store: Path, name: str, sweep: str | None = None) -> str:
    """The fingerprint that an alias means, in ``sweep`` if given; a fingerprint means itself.

    ``best`` is short for ``best:<metric>`` where there is one metric.  Raises UserError listing the aliases there are.
    """
    if FINGERPRINT.fullmatch(name):
        return name
    meaning = {entry.alias: entry.fingerprint for entry in entries(store, sweep)}
    if name in meaning:
        return meaning[name]
    near = sorted(alias for alias in meaning if alias.startswith(f"{name}:"))
    if len(near) == 1:
        return meaning[near[0]]
    of_sweep = f" of sweep {sweep}" if sweep else ""
    if near:
        raise UserError(f"{name!r}{of_sweep} is ambiguous: say {' or '.join(near)}")
    known = ", ".join(sorted(meaning)) or "none yet: finish a sweep first, or give a train stage's fingerprint"
    raise UserError(f"no alias {name!r}{of_sweep} in {store / LEDGER}; there are: {known}")


def pull(store: Path, name: str, to: Path, recipe: Mapping[str, Any], *, models: Mapping[str, str],
         sweep: str | None = None) -> Pulled:
    """Copy the adapter ``name`` (alias or fingerprint) to the folder ``to``, whole or not at all.

    ``recipe``: what the caller knows of how it was made and how to run it (prompt, dialect, limits, index, table row);
    stored as it is in ``smartad.json``.  ``models``: identity -> folder of local base models (see ``models.locate``).
    An earlier pull in ``to`` is replaced; any other content is not.  Raises UserError, naming the file, for everything
    that is missing, damaged, or not what it claims to be.
    """
    fingerprint = resolve(store, name, sweep)
    files = _adapter_files(store, fingerprint)
    _check_target(to)
    temporary = to.absolute().parent / f".{to.absolute().name}.{uuid.uuid4().hex[:8]}.pull"
    try:
        temporary.mkdir(parents=True)
        for file, expected in files.items():
            source, copy = store / fingerprint / ADAPTER / file, temporary / file
            _verify(source, expected)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            _verify(copy, expected)
        base, loads_from = _rewrite_base(temporary, models)
        _describe(temporary, fingerprint, name, base, recipe)
        _swap(temporary, to.absolute())
    except OSError as error:
        raise UserError(f"cannot pull to {to}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Pulled(fingerprint, to, base, loads_from)


def read_pulled(folder: Path) -> dict[str, Any]:
    """``smartad.json`` of a pulled adapter (keys fingerprint, alias, base, files, recipe), its files checked.

    Raises UserError when ``folder`` is no pulled adapter, or a file of it is missing or has changed.
    """
    card = _card(folder)
    if card is None:
        raise UserError(f"{folder} is not a pulled adapter (no {CARD}); `smartad pull best --to {folder}` makes one")
    for file, expected in card["files"].items():
        _verify(folder / file, expected)
    return card


def _record(store: Path, fingerprint: str) -> dict[str, Any]:
    """The record of a finished train stage."""
    path = store / fingerprint / "record.json"
    if not FINGERPRINT.fullmatch(fingerprint):
        raise UserError(f"{fingerprint!r} is not a fingerprint")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{fingerprint} is not finished in {store}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); delete the folder to have it made again") from error
    if not isinstance(record, dict) or not isinstance(record.get("files"), dict):
        raise UserError(f"{path} lists no files; delete the folder to have it made again")
    if not fingerprint.startswith("train-"):
        raise UserError(f"{fingerprint} is not an adapter: only a train stage makes one")
    return record


def _adapter_files(store: Path, fingerprint: str) -> dict[str, Mapping[str, Any]]:
    """Path below ``adapter/`` -> {size, sha256}, from the record; only plain files inside that folder pass."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, expected in _record(store, fingerprint)["files"].items():
        parts = PurePosixPath(name).parts
        if parts[:1] != (ADAPTER,):
            continue
        if len(parts) < 2 or ".." in parts or "\\" in name:
            raise UserError(f"the record of {fingerprint} names a file outside of its adapter: {name!r}; not copied")
        for depth in range(len(parts) + 1):
            if (path := store / fingerprint / Path(*parts[:depth])).is_symlink():
                raise UserError(f"{path} is a link; an adapter is copied from plain files only")
        found["/".join(parts[1:])] = expected
    if missing := sorted({"adapter_config.json", "adapter_model.safetensors"} - found.keys()):
        raise UserError(f"the record of {fingerprint} has no {ADAPTER}/{missing[0]}: there is no adapter to pull")
    return found


def _verify(path: Path, expected: Mapping[str, Any]) -> None:
    if not isinstance(expected, Mapping) or not {"size", "sha256"} <= expected.keys():
        raise UserError(f"there is no size and SHA-256 on record for {path}. {_WAY_OUT}")
    if not path.is_file():
        raise UserError(f"{path} is missing. {_WAY_OUT}")
    if path.stat().st_size != expected["size"]:
        raise UserError(f"{path} has {path.stat().st_size} bytes instead of {expected['size']}. {_WAY_OUT}")
    if file_sha256(path) != expected["sha256"]:
        raise UserError(f"{path} is not what was recorded: its SHA-256 has changed. {_WAY_OUT}")


_WAY_OUT = "In the store: delete the stage's folder and run the sweep again; in a pulled folder: pull again"


def _check_target(to: Path) -> None:
    if to.is_symlink() or (to.exists() and not to.is_dir()):
        raise UserError(f"{to} is not a folder; pull to a new one")
    if to.is_dir() and any(to.iterdir()) and _card(to) is None:
        raise UserError(f"{to} has other things in it; pull to a new folder, or empty this one")


def _card(folder: Path) -> dict[str, Any] | None:
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise UserError(f"{folder / CARD} is damaged ({error}); delete the folder and pull again") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise UserError(f"{folder / CARD} is not of format {FORMAT}: it was written by another version; pull again")
    return card


def _rewrite_base(folder: Path, models: Mapping[str, str]) -> tuple[str, str]:
    """Name the base model so that PEFT finds it here.  (identity, what it is loaded from)."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    identity = config.get("base_model_name_or_path") or ""
    if config.get("revision"):
        identity = f"{identity}@{config['revision']}"
    loads_from, revision = locate(identity, models)
    path.write_text(json.dumps({**config, "base_model_name_or_path": loads_from, "revision": revision}, indent=2,
                               sort_keys=True) + "\n", encoding="utf-8")
    return identity, loads_from


def _describe(folder: Path, fingerprint: str, alias: str, base: str, recipe: Mapping[str, Any]) -> None:
    """Write ``smartad.json`` for programs and ``README.md`` for people."""
    plain = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "README.md")  # PEFT leaves an empty one
    files = {p.relative_to(folder).as_posix(): {"size": p.stat().st_size, "sha256": file_sha256(p)} for p in plain}
    card = {"format": FORMAT, "fingerprint": fingerprint, "alias": alias, "base": base, "files": files,
            "recipe": dict(recipe)}
    (folder / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    facts = "".join(f"| {key} | `{json.dumps(value, ensure_ascii=False)}` |\n" for key, value in recipe.items())
    (folder / "README.md").write_text(_README.format(
        base=base, fingerprint=fingerprint, alias=alias, facts=facts, folder=folder.name), encoding="utf-8")


_README = """---
library_name: peft
tags: [smartad, agent-distillation, lora]
---
# Adapter `{fingerprint}`

A LoRA adapter for the base model `{base}`, distilled from a teacher agent's trajectories with smartad.
Pulled as `{alias}`.

```
smartad ask --adapter THIS_FOLDER "question"
```
or, without smartad, `peft.AutoPeftModelForCausalLM.from_pretrained("THIS_FOLDER")`. `adapter_config.json` names the
base model as it is found on the machine it was pulled on.

| | |
|---|---|
{facts}
`smartad.json` has the same for programs, with the checksums of the files.
"""


def _swap(new: Path, to: Path) -> None:
    """Put ``new`` in the place of ``to``, which is missing, empty, or an earlier pull."""
    if not to.exists() or not any(to.iterdir()):
        os.replace(new, to)  # also over an empty folder
        return
    old = new.with_suffix(".old")
    os.replace(to, old)
    os.replace(new, to)
    shutil.rmtree(old)
