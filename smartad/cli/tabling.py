"""table: a sweep's comparison table, on the terminal or as what goes into a paper."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from smartad import papers, tables
from smartad.analysis.guard import Guarded, guard, guarded
from smartad.cli import paper
from smartad.cli.console import console, program
from smartad.records import visible
from smartad.redact import redact
from smartad.store import Store
from smartad.sweep import ledger, results
from smartad.tables import Table
from smartad.tables.grid import Box, Grid, grid
from smartad.tables.words import below
from smartad.types import UserError

ENDINGS = {".md": "md", ".tex": "tex", ".csv": "csv", ".html": "html", ".htm": "html"}
WRITERS: Mapping[str, Callable[[Table], str]] = {"md": tables.markdown, "tex": tables.latex, "html": tables.page}
"""The others are made of more than the table: csv of its cells, terminal of where it is shown."""
STYLES = {"best": "bold", "second": "underline", "": ""}


def table_command(args: argparse.Namespace) -> int:
    """The comparison table of a sweep."""
    store = Store(args.store)
    form = _form(args)
    if args.sweep in papers.names() and not ledger.candidates(store, args.sweep):
        return _printed(args, form)
    book = ledger.load(store, args.sweep)
    layout = results.layout_of(book, args.layout)
    if args.paper and layout is None:
        raise paper.needs_layout(book.name)
    pools = layout is not None and layout.kind == "pools"
    if not book.trials:
        raise UserError(f"{book.name} has no row yet: no trial of it was begun")
    if pools and args.grader:
        raise UserError(f"--grader {args.grader}: {args.layout or book.config['layout']} is of the pools of {book.name}, as they "
                        "were graded for selection; leave it out")
    rows = results.rows_for(store, book, layout, args.grader)
    if args.grader:
        results.check_grader(store, book, args.grader)
    found = Guarded({}, {}, (), ()) if pools else guard(store, book, rows)
    if args.strict and found.differences:
        raise UserError(_refusal(book.name, found))
    table = results.arranged(book, rows, layout, args.paper)
    table = guarded(dataclasses.replace(table, intervals=args.interval), found)
    if form == "terminal":
        print_table(table)
        return 0
    text = WRITERS[form](table) if form in WRITERS else tables.as_csv(table, rows, {} if pools else results.seeds(book))
    _give(text, args.to, book.name)
    return 0


def _printed(args: argparse.Namespace, form: str) -> int:
    """A paper's table, where no sweep has its name."""
    if not args.paper or args.layout or args.grader or args.strict or args.interval:
        raise UserError(f"{args.sweep} is no sweep in {args.store} but a table that a paper prints: `{program()} table "
                        f"{args.sweep} --paper` shows it alone, and besides --format and --to it takes nothing")
    if form == "terminal":
        paper.show(args.sweep)
    else:
        _give(paper.written(args.sweep, form), args.to, args.sweep)
    return 0


def _give(text: str, path: Path | None, name: str) -> None:
    if path:
        _write(path, text)
        print(f"{path}: {name}")
    else:
        print(text, end="")


def _form(args: argparse.Namespace) -> str:
    """What to write.  Raises UserError when the file's name does not say it, and nobody else does."""
    if args.to is None:
        return args.format or ("terminal" if sys.stdout.isatty() else "md")
    form = args.format or ENDINGS.get(args.to.suffix.lower())
    if form in (None, "terminal"):
        raise UserError(f"--to {args.to}: a file is md, tex, csv or html; let its name end so, or say which with --format")
    return str(form)


def _write(path: Path, text: str) -> None:
    """By rename: a reader finds the old file or the new one, whole."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        temporary.write_text(redact(text), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"--to {path} cannot be written: {error.strerror}") from error


def _refusal(sweep: str, found: Guarded) -> str:
    lines = [f"  {one.benchmark} of {one.label}, seed {one.seed}: {one.text}" for one in found.differences]
    return "\n".join([f"the cells of {sweep} did not all come about in the same way, and --strict prints no such table:", *lines,
                      "Without --strict it is printed with these cells marked; `smartad why` compares two stages"])


def print_table(table: Table, out: Console | None = None) -> None:
    """A comparison table for the terminal, in as many parts below one another as its width takes."""
    out, found = out or console(), grid(table)
    titles = [title for title, span in found.groups for _ in range(span)] or [""] * len(found.columns)
    heads = [f"{title}\n{name}" if found.groups else name for title, name in zip(titles, found.columns, strict=True)]
    for part in _parts(found, heads, out.width):
        shown = RichTable()
        for head in found.heads:
            shown.add_column(_text(head), no_wrap=True)
        for column in part:
            shown.add_column(_text(heads[column]), justify="right")
        for block in found.blocks:
            for line in block:
                shown.add_row(*map(_text, line.heads), *(_box(line.boxes[column]) for column in part))
            shown.add_section()
        out.print(shown)
    for said in (tables.caption(table), *below(table)):
        out.print(_text(said), soft_wrap=True)


def _text(text: str) -> str:
    """As it is, for a terminal: no markup, and nothing that it would obey."""
    return escape(visible(text))


def _parts(found: Grid, heads: list[str], width: int) -> Iterator[list[int]]:
    """Columns that fit beside one another, and beside those that name the row; at least one."""
    lines = [line for block in found.blocks for line in block]
    named = sum(_width([head, *(line.heads[at] for line in lines)]) for at, head in enumerate(found.heads)) + 1
    part: list[int] = []
    left = width - named
    for column, head in enumerate(heads):
        wide = _width([head, *(_plain(line.boxes[column]) for line in lines)])
        if part and wide > left:
            yield part
            part, left = [], width - named
        part.append(column)
        left -= wide
    yield part


def _width(texts: list[str]) -> int:
    """Of a column with its padding and its rule."""
    return 3 + max(cell_len(line) for text in texts for line in visible(text).split("\n"))


def _plain(box: Box) -> str:
    first, *more = box.lines
    return "\n".join([f"{first} ({box.mark})" if box.mark else first, *more])


def _box(box: Box) -> str:
    first, *more = map(_text, box.lines)
    style = STYLES[box.rank]
    number = f"[{style}]{first}[/{style}]" if style else first
    return "\n".join([f"{number} [yellow]({escape(box.mark)})[/yellow]" if box.mark else number, *more])
