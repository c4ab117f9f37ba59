"""Names for finished adapters.

``<store>/registry.jsonl`` is an append-only ledger, one line per decision: the last line for an alias, of a sweep or of
none, is what it means, and the lines before it say what it meant, since when, by whom and why.
"""

import getpass
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from smartad.fingerprint import FINGERPRINT
from smartad.records import append_jsonl, from_json, read_partial_jsonl
from smartad.redact import redact
from smartad.store import Store, StoreError, explained
from smartad.types import UserError

LEDGER = "registry.jsonl"
LOCK = "registry"
ADAPTER = "adapter"
"""The folder of a train stage's output that holds what is pulled."""
LATEST = "latest"
BY_SWEEP = "sweep"
ALIAS = re.compile(r"[A-Za-z0-9][\w.@+/-]*(:[\w.@+/-]+)?")
WAIT_S = 20.0
"""How long a decision waits for somebody else's to be written."""


@dataclass(frozen=True)
class Entry:
    """One line of the ledger: since ``time``, ``alias`` means ``fingerprint``."""

    time: float
    """Seconds since the epoch."""
    alias: str
    """``best``, ``best:<metric>``, ``latest``, or a name of your own."""
    fingerprint: str | None
    """A finished train stage; None: the alias means nothing any more."""
    metric: str | None
    value: float | None
    """What ``metric`` was when it was chosen."""
    by: str
    """Who chose: a user's name, or ``sweep``."""
    reason: str
    sweep: str | None


def promote(store: Store, alias: str, fingerprint: str, *, reason: str, metric: str | None = None,
            value: float | None = None, by: str | None = None, sweep: str | None = None) -> Entry:
    """Let ``alias`` mean ``fingerprint`` from now on.  ``by`` defaults to the user's name.

    Raises UserError for an alias that could be mistaken for something else, and for an output that is no adapter, is not
    finished, or is not what was recorded.
    """
    if not ALIAS.fullmatch(alias) or FINGERPRINT.fullmatch(alias) or alias.startswith("train-"):
        raise UserError(f"{alias!r} cannot be an alias: it must not look like a fingerprint, and consist of letters, digits and "
                        ". _ @ + / - with at most one colon, as in best:pass@1")
    return _decide(store, lambda: check(store, fingerprint),
                   Entry(time.time(), alias, fingerprint, metric, value, by or _user(), redact(reason), sweep))


def withdraw(store: Store, alias: str, *, reason: str, by: str | None = None, sweep: str | None = None) -> Entry:
    """Let ``alias`` mean nothing from now on.  Raises UserError when it means nothing now."""
    def means_something() -> None:
        if not any((entry.alias, entry.sweep) == (alias, sweep) for entry in current(store)):
            raise UserError(f"alias {alias!r}{_of(sweep)} means nothing in {store.root / LEDGER}")
    return _decide(store, means_something, Entry(time.time(), alias, None, None, None, by or _user(), redact(reason), sweep))


def _decide(store: Store, check_first: Callable[[], object], entry: Entry) -> Entry:
    """Write ``entry``, one process at a time: two appends may mix on a network file system."""
    until = time.monotonic() + WAIT_S
    while True:
        with store.lock(LOCK) as claim:
            if claim:
                check_first()
                with explained(store.root):
                    read_partial_jsonl(store.root / LEDGER, Entry)  # cuts a killed writer's torn line, or ours is glued to it
                    append_jsonl(store.root / LEDGER, [entry])
                return entry
        if time.monotonic() > until:
            who = store.locked(LOCK) or {}
            raise StoreError(f"process {who.get('pid', '?')} on {who.get('host', '?')} has kept {store.root / LEDGER} to itself "
                             f"for {WAIT_S:g} s (`smartad gc` does while it clears up); try again in a moment")
        time.sleep(0.05)


def entries(store: Store, sweep: str | None = None) -> list[Entry]:
    """The ledger, oldest first; only what was decided for ``sweep`` if that is given."""
    path = store.root / LEDGER
    # What follows the last newline is a line that somebody is writing, or did not get to finish.
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(from_json(Entry, json.loads(line)))
        except ValueError as error:
            raise UserError(f"{path}:{number} is not an entry of the registry: {error}") from error
    return [entry for entry in found if sweep in (None, entry.sweep)]


def current(store: Store, sweep: str | None = None) -> list[Entry]:
    """What every alias means now, of ``sweep`` if that is given; the latest decision last."""
    last: dict[tuple[str, str | None], Entry] = {}
    for entry in entries(store, sweep):
        last.pop((entry.alias, entry.sweep), None)
        last[entry.alias, entry.sweep] = entry
    return [entry for entry in last.values() if entry.fingerprint is not None]


def resolve(store: Store, name: str, sweep: str | None = None) -> str:
    """The fingerprint that an alias means, in ``sweep`` if given; a fingerprint means itself.

    Without a sweep, what was decided for none goes before what sweeps decided, and ``latest`` is the latest of all.
    ``best`` is short for ``best:<metric>`` where there is one metric.  Raises UserError listing the aliases there are, or
    the sweeps that mean different adapters.
    """
    if FINGERPRINT.fullmatch(name):
        return name
    found = current(store, sweep)
    near = sorted({entry.alias for entry in found if entry.alias.startswith(f"{name}:")})
    meant = [entry for entry in found if entry.alias == name]
    if not meant and len(near) == 1:
        meant = [entry for entry in found if entry.alias == near[0]]
    meant = [entry for entry in meant if entry.sweep is None] or (meant[-1:] if name == LATEST else meant)
    if len({entry.fingerprint for entry in meant}) == 1:
        return str(meant[0].fingerprint)
    if meant:
        raise UserError(f"{name!r} means an adapter of each of {', '.join(sorted(str(entry.sweep) for entry in meant))}; "
                        "say which with --sweep")
    if near:
        raise UserError(f"{name!r}{_of(sweep)} is ambiguous: say {' or '.join(near)}")
    known = ", ".join(sorted({entry.alias for entry in found}))
    raise UserError(f"no alias {name!r}{_of(sweep)} in {store.root / LEDGER}; there are: "
                    f"{known or 'none yet: finish a sweep first, or give the fingerprint of a train stage'}")


def check(store: Store, fingerprint: str) -> list[str]:
    """The files below ``adapter/`` of a finished train stage, all of them as they were recorded.

    Raises UserError for anything else, naming the file; only plain files inside that folder pass.
    """
    if not FINGERPRINT.fullmatch(fingerprint):
        raise UserError(f"{fingerprint!r} is not a fingerprint")
    record = store.record(fingerprint)
    if not isinstance(record.get("files"), dict):
        raise UserError(f"the record of {fingerprint} lists no files; delete the folder to have it made again")
    if not fingerprint.startswith("train-"):
        raise UserError(f"{fingerprint} is not an adapter: only a train stage makes one")
    found = [_inside(store, fingerprint, name) for name in record["files"] if PurePosixPath(name).parts[:1] == (ADAPTER,)]
    if missing := sorted({"adapter_config.json", "adapter_model.safetensors"} - {*found}):
        raise UserError(f"the record of {fingerprint} has no {ADAPTER}/{missing[0]}: there is no adapter to pull")
    if wrong := store.verify(fingerprint):
        raise UserError(f"{wrong[0]}. Delete {store.folder(fingerprint)} and run its sweep again: it is made anew")
    return found


def _inside(store: Store, fingerprint: str, name: str) -> str:
    """A recorded file's path below ``adapter/``, if it cannot lead out of there."""
    parts = PurePosixPath(name).parts
    if len(parts) < 2 or ".." in parts or "\\" in name:
        raise UserError(f"the record of {fingerprint} names a file outside of its adapter: {name!r}; not copied")
    for depth in range(len(parts) + 1):
        if (path := store.folder(fingerprint).joinpath(*parts[:depth])).is_symlink():
            raise UserError(f"{path} is a link; an adapter is copied from plain files only")
    return "/".join(parts[1:])


def _of(sweep: str | None) -> str:
    return f" of sweep {sweep}" if sweep else ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return f"uid {os.getuid()}"
