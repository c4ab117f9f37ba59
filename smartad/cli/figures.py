"""figure: a sweep's pictures as files."""

import argparse
import sys
from pathlib import Path

from smartad import figures
from smartad.cli.console import console
from smartad.records import RecordError, visible
from smartad.store import Store, StoreAway, StoreError
from smartad.sweep import ledger
from smartad.types import UserError


def figure_command(args: argparse.Namespace) -> int:
    """Write the figures; what was not asked for by name and cannot be drawn is said, and no fault unless the store is damaged."""
    from smartad.analysis import pictures  # with numpy, which no other command should wait for

    if args.list:
        width = max(map(len, pictures.PICTURES))
        print("\n".join(f"{name:{width}}  {picture.brief}" for name, picture in pictures.PICTURES.items()))
        return 0
    if args.sweep is None:
        raise UserError("name a sweep, as in `smartad figure quickstart --to figures`")
    formats = _formats(args.format)
    if unknown := [name for name in args.names if name not in pictures.PICTURES]:
        raise UserError(f"no figure {unknown[0]!r}; there are {', '.join(pictures.PICTURES)}")
    store = Store(args.store)
    book = ledger.load(store, args.sweep)
    found = pictures.finished(store, book, args.rows)
    _make(args.to)
    refused: list[str] = []
    damaged = False
    for name in args.names or pictures.PICTURES:
        with console(stderr=True).status(f"drawing {name}"):
            try:
                figure = pictures.draw(store, book, name, of=found)
            except StoreAway:
                raise
            except (pictures.NotDrawable, StoreError, RecordError) as error:
                refused.append(f"{name} is not drawn: {error}")
                damaged = damaged or not isinstance(error, pictures.NotDrawable)
                continue
            for form in formats:
                path = args.to / f"{book.name}-{name}.{form}"
                figures.save(figure, path)
                print(path, flush=True)
    print(visible("\n".join(refused)), file=sys.stderr, end="\n" if refused else "")
    return 1 if damaged or (refused and args.names) else 0


def _formats(word: str) -> list[str]:
    formats = list(dict.fromkeys(part.strip() for part in word.split(",") if part.strip()))
    if not formats or (unknown := [form for form in formats if form not in figures.FORMATS]):
        raise UserError(f"--format {word}: {unknown[0] if formats else 'nothing'} is no format of figures; there are "
                        f"{', '.join(figures.FORMATS)}")
    return formats


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--to {folder}: {error.strerror}; name a folder that can be written to") from error
