"""A paper's table as it is printed, without any number of ours."""

import csv
import io

from rich.markup import escape
from rich.table import Table as RichTable

from smartad import papers, tables
from smartad.cli.console import console, program
from smartad.papers import slips
from smartad.types import UserError

FORMS = ("md", "tex", "csv")


def written(name: str, form: str) -> str:
    """The table called ``name`` in ``form``, and what is known to be wrong with it."""
    if form not in FORMS:
        raise UserError(f"a printed table is written as {', '.join(FORMS)}, not as {form}; with the numbers of a sweep, it is: "
                        f"{program()} table SWEEP --layout {name} --paper --format {form}")
    header, lines = papers.get(name).lines()
    if form == "csv":
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([header, *lines])
        return file.getvalue()
    if form == "md":
        return "\n".join([tables.plain_markdown(header, lines), *(f"{note}\n" for note in _notes(name))])
    return tables.plain_latex(header, lines, " ".join(_notes(name)))


def show(name: str) -> None:
    """The same on the terminal."""
    paper = papers.get(name)
    header, lines = paper.lines()
    grid = RichTable()
    for head in header:
        grid.add_column(escape(head), justify="left" if head in paper.heads else "right")
    for line in lines:
        grid.add_row(*map(escape, line))
    console().print(grid)
    for note in _notes(name):
        console().print(escape(note), soft_wrap=True)


def _notes(name: str) -> list[str]:
    paper = papers.get(name)
    return [f"{paper.title}: {paper.caption}", *(slip.text() for slip in slips.of(name))]


def needs_layout(sweep: str) -> UserError:
    """Said to whoever asks for printed numbers beside a sweep's that is laid out as no printed table."""
    some = ", ".join(name for name in papers.names() if papers.get(name).kind != "buckets")
    return UserError(f"--paper puts what a paper prints beside the numbers of {sweep}, which declares no layout; name a printed "
                     f"table with --layout: {some}")
