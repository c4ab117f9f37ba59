"""Passages in a file with one per line, read where they lie: of Wikipedia's 21 million only the places are in memory."""

import csv
import json
import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from smartad.fingerprint import file_sha256
from smartad.records import RecordError, from_json, read_json, write_json, write_jsonl
from smartad.types import Passage, UserError

OWN = "passages.jsonl"
STARTS = "passages.starts.npy"
PLACE = "passages.json"
BLOCK = 1 << 26
"""Bytes looked at at once when lines are counted."""
Format = Literal["passage", "contents", "psgs_w100"]


class Passages(Protocol):
    """What a retriever needs of a corpus: a list will do."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Passage: ...
    def __iter__(self) -> Iterator[Passage]: ...


def _own(line: bytes) -> Passage:
    found: Passage = from_json(Passage, json.loads(line))
    return found


def _contents(line: bytes) -> Passage:
    """Search-R1 and FlashRAG: ``{"id", "contents"}``, the title in quotes on the first line of its contents."""
    row = json.loads(line)
    title, _, text = row["contents"].partition("\n")
    return Passage(f"wiki18/{row['id']}", title.removeprefix('"').removesuffix('"'), text)


def _psgs_w100(line: bytes) -> Passage:
    """DPR: id, text and title with tabs between, quotes as in CSV."""
    key, text, title = next(csv.reader([line.decode("utf-8").rstrip("\r\n")], delimiter="\t"))
    return Passage(f"psgs_w100/{key}", title, text)


READERS: dict[Format, Callable[[bytes], Passage]] = {"passage": _own, "contents": _contents, "psgs_w100": _psgs_w100}
HEADED = ("psgs_w100",)
"""Formats whose first line names the columns."""


@dataclass(frozen=True)
class Lines:
    """The passages of a file.  Threads may share it."""

    path: Path
    form: Format
    starts: np.ndarray
    """(passages + 1,): where each line begins, and where the last one ends."""
    content: Any
    """The file, mapped into memory."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int, /) -> Passage:
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            return READERS[self.form](self.content[int(self.starts[index]):int(self.starts[index + 1])])
        except (ValueError, TypeError, KeyError, StopIteration) as error:
            number = index + 1 + (self.form in HEADED)
            raise RecordError(f"{self.path}:{number} is not a passage of the form {self.form!r}: {error}") from error

    def __iter__(self) -> Iterator[Passage]:
        return (self[i] for i in range(len(self)))


def scan(path: Path, form: Format) -> Lines:
    """The passages of ``path``, its lines counted now.  Raises UserError when it is empty."""
    return _lines(path, form, _starts(path, form))


def keep(passages: Passages, out: Path, source: str | None = None) -> None:
    """Have :func:`reopen` find ``passages`` in ``out``: written there, or, if they are a corpus file's lines, their places.

    ``source``: that file's path below the data folder.  Raises UserError when there are none.
    """
    if not len(passages):
        raise UserError("there are no passages to index")
    if isinstance(passages, Lines) and source is not None:
        _save(passages.starts, out)
        write_json(out / PLACE, {"file": source, "format": passages.form, "bytes": passages.path.stat().st_size,
                                 "sha256": file_sha256(passages.path)})
        return
    write_jsonl(out / OWN, passages)
    _save(_starts(out / OWN, "passage"), out)


def reopen(folder: Path, data: Path | None) -> Passages:
    """What :func:`keep` left in ``folder``.  Raises UserError when its corpus file is not there or has changed."""
    place = read_json(folder / PLACE)
    path: Path = folder / OWN
    form: Format = "passage"
    if place is not None:
        path, form = found(place, data), place["format"]
    starts = folder / STARTS
    return _lines(path, form, np.load(starts, mmap_mode="r") if starts.exists() else _starts(path, form))  # older ones have none


def found(place: dict[str, Any], data: Path | None) -> Path:
    """The file of the data folder that ``place`` says (``file``, ``bytes``).  Raises UserError when it is another, or none."""
    if data is None:
        raise UserError(f"{place['file']} is read where it lies; say where that is with data=FOLDER")
    path = data / place["file"]
    if not path.is_file():
        raise UserError(f"no file {path}; say which folder holds {place['file']} with data=FOLDER")
    if (size := path.stat().st_size) != place["bytes"]:
        raise UserError(f"{path} has {size} bytes, and the index was made of one with {place['bytes']}; put that one back, or "
                        "remove the index stage's folder to have it made anew")
    return path


def _lines(path: Path, form: Format, starts: np.ndarray) -> Lines:
    with path.open("rb") as file:
        return Lines(path, form, starts, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _starts(path: Path, form: Format) -> np.ndarray:
    size = path.stat().st_size
    if not size:
        raise UserError(f"{path} is empty")
    ends, before = [np.zeros(1, np.int64)], 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            ends.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + before + 1)
            before += len(block)
    starts = np.concatenate(ends)
    if starts[-1] != size:  # the last line is not ended
        starts = np.append(starts, size)
    return starts[1:] if form in HEADED else starts


def _save(starts: np.ndarray, out: Path) -> None:
    with (out / STARTS).open("wb") as file:
        np.save(file, starts)
