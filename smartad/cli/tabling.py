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

from smartad import grading, papers, tables
from smartad.analysis.guard import Guarded, guard, guarded
from smartad.cli.console import console
from smartad.cli.paper import needs_layout, print_paper
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
    if args.paper and args.sweep in papers.names() and not ledger.candidates(store, args.sweep):
        return print_paper(args.sweep, form)
    book = ledger.load(store, args.sweep)
    layout = results.layout_of(book, args.layout)
    if args.paper and layout is None:
        raise needs_layout(book.name)
    rows = results.rows_for(store, book, layout, args.grader)
    if args.grader:
        _check_grader(args.grader, book, results.graders(store, book))
    pools = layout is not None and layout.kind == "pools"
    found = Guarded({}, {}, (), ()) if pools else guard(store, book, rows)
    if args.strict and found.differences:
        raise UserError(_refusal(book.name, found))
    table = results.arranged(book, rows, layout, args.paper)
    table = guarded(dataclasses.replace(table, intervals=args.interval), found)
    if form == "terminal":
        print_table(table)
        return 0
    seeds = [""] if pools else [run.seed for run in book.trials[0].runs]
    text = WRITERS[form](table) if form in WRITERS else tables.as_csv(table, rows, seeds)
    if args.to:
        _write(args.to, text)
        print(f"{args.to}: {book.name}")
    else:
        print(text, end="")
    return 0


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


def _check_grader(name: str, book: ledger.Ledger, there: set[str]) -> None:
    grading.get(name)
    if not any(by.startswith(f"{name}/") for by in there):
        raise UserError(f"nothing of {book.name} is graded by {name}; there are verdicts of "
                        f"{', '.join(sorted(there)) or 'nobody'}. To have it grade the same, name it behind the others, as in "
                        "grade.math=[math_strict,math_paper], and run the sweep again: no agent runs twice")


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
            shown.add_column(escape(head), no_wrap=True)
        for column in part:
            shown.add_column(escape(heads[column]), justify="right")
        for block in found.blocks:
            for line in block:
                shown.add_row(*(escape(visible(head)) for head in line.heads), *(_box(line.boxes[column]) for column in part))
            shown.add_section()
        out.print(shown)
    for said in (tables.caption(table), *below(table)):
        out.print(escape(visible(said)), soft_wrap=True)


def _parts(found: Grid, heads: list[str], width: int) -> Iterator[list[int]]:
    """Columns that fit beside one another, and beside those that name the row; at least one."""
    lines = [line for block in found.blocks for line in block]
    named = sum(_width([head, *(visible(line.heads[at]) for line in lines)]) for at, head in enumerate(found.heads)) + 1
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
    return 3 + max(cell_len(line) for text in texts for line in text.split("\n"))


def _plain(box: Box) -> str:
    first, *more = box.lines
    return "\n".join([f"{first} ({box.mark})" if box.mark else first, *more])


def _box(box: Box) -> str:
    first, *more = map(escape, box.lines)
    style = STYLES[box.rank]
    number = f"[{style}]{first}[/{style}]" if style else first
    return "\n".join([f"{number} [yellow]({escape(box.mark)})[/yellow]" if box.mark else number, *more])
