"""Frozen dataclasses to and from JSON lines, with the file and line of anything that does not fit."""

import dataclasses
import errno
import json
import os
import types
import typing
import uuid
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from smartad.types import UserError

T = TypeVar("T")
SCALARS = (str, int, float, bool)
NO_ANSWER = (errno.EIO, errno.ESTALE, errno.ENOTCONN)
"""What a network file system says when its server is gone.  Of a file it says nothing then: neither that it is there nor not."""


class RecordError(UserError):
    """A row is not what its reader expects; the message names file, line and field."""


def to_json(value: Any) -> Any:
    """``value`` as dicts, lists and scalars."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    if isinstance(value, dict):
        return {k: to_json(v) for k, v in value.items()}
    return value


def from_json(cls: Any, value: Any, where: str = "") -> Any:
    """``value`` as a ``cls``.  Raises RecordError for a missing or unknown field or a wrong type."""
    if cls in SCALARS:
        if cls is float and type(value) is int:
            return float(value)
        if type(value) is not cls:
            raise RecordError(f"{where}: expected {cls.__name__}, got {value!r:.60}")
        return value
    if dataclasses.is_dataclass(cls):
        return _dataclass_from_json(cls, value, where)
    origin, args = typing.get_origin(cls), typing.get_args(cls)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return from_json(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise RecordError(f"{where}: expected a list, got {value!r:.60}")
        return tuple(from_json(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is typing.Literal:
        if value not in args:
            raise RecordError(f"{where}: expected one of {', '.join(map(str, args))}, got {value!r:.60}")
        return value
    return value


def _dataclass_from_json(cls: Any, value: Any, where: str) -> Any:
    prefix = f"{where}: " if where else ""
    if not isinstance(value, dict):
        raise RecordError(f"{prefix}expected an object, got {value!r:.60}")
    hints, required = _fields(cls)
    if missing := sorted(required - value.keys()):
        raise RecordError(f"{prefix}field {missing[0]!r} is missing")
    if unknown := sorted(value.keys() - hints.keys()):
        raise RecordError(f"{prefix}unknown field {unknown[0]!r}; was it written by another version?")
    return cls(**{k: from_json(hints[k], v, f"{where}.{k}" if where else k) for k, v in value.items()})


@cache
def _fields(cls: Any) -> tuple[dict[str, Any], set[str]]:
    """Name -> type, and those that must be there.  To ask Python for them costs more than all the rest of reading a row."""
    required = {f.name for f in dataclasses.fields(cls)
                if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING}
    return typing.get_type_hints(cls), required


def writable(text: str) -> str:
    """``text`` that can be written as UTF-8: half a surrogate pair, which JSON can hold, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def visible(text: str) -> str:
    """``text`` with what a terminal would obey, or not show, written as in Python: models, labels and files say anything."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def dump_line(row: Any) -> str:
    """One row as one line of JSON, newline included.  NaN and infinities are refused."""
    return json.dumps(to_json(row), ensure_ascii=False, allow_nan=False) + "\n"


def write_jsonl(path: Path, rows: Iterable[Any]) -> int:
    """Write all of ``rows`` or leave ``path`` as it was; the number of rows."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    count = 0
    with temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(dump_line(row))
            count += 1
    os.replace(temporary, path)
    return count


def append_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Add ``rows`` in one write, so that a kill tears at most the last line."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(dump_line(row) for row in rows))


def read_jsonl(path: Path, cls: type[T]) -> Iterator[T]:
    """The rows of ``path``.  Raises RecordError naming file and line for the first that is not a ``cls``."""
    try:
        file = path.open(encoding="utf-8")
    except FileNotFoundError as error:
        raise RecordError(f"{path} does not exist") from error
    with file:
        number = 1
        try:
            for line in file:
                yield from_json(cls, json.loads(line))
                number += 1
        except (ValueError, TypeError, KeyError) as error:
            raise RecordError(f"{path}:{number} is not a {cls.__name__}: {error}") from error


def read_partial_jsonl(path: Path, cls: type[T]) -> list[T]:
    """The rows a killed writer left in ``path`` (none if it does not exist); a torn last line is cut off the file.

    Raises RecordError for any other line that is not a ``cls``: that is damage, not a kill.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
    return list(read_jsonl(path, cls))


def write_json(path: Path, value: Any) -> None:
    """Write by rename: readers see the old file or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(value, file, indent=2, sort_keys=True, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in ``path``; None when there is none, or it is torn.  Raises OSError where its file system does not answer."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    except ValueError:
        return None
    except OSError as error:
        if error.errno in NO_ANSWER:
            raise
        return None


def is_there(path: Path) -> bool:
    """Whether ``path`` is.  Raises OSError where its file system does not answer, of which os.path.exists says no."""
    try:
        os.stat(path)
        return True
    except OSError as error:
        if error.errno in NO_ANSWER:
            raise
        return False
