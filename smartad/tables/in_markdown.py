"""Tables in GitHub's Markdown."""

import re
from collections.abc import Sequence

from smartad.records import visible
from smartad.tables.data import Table
from smartad.tables.grid import Box, grid
from smartad.tables.words import below, caption

MARKS = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}
ACTS = re.compile(r"[\\|*`~$]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])")
"""What would be markup.  Brackets are it only before another one or a colon, and an underscore inside a word is not."""


def markdown(table: Table) -> str:
    """Groups would stand in a second header row, which Markdown has not, so they stand in the columns' names."""
    found = grid(table)
    over = [title for title, span in found.groups for _ in range(span)] if len(found.groups) > 2 or table.transposed else []
    columns = [f"{_escape(title)}<br>{_escape(name)}" if title else _escape(name)
               for title, name in zip(over or [""] * len(found.columns), found.columns, strict=True)]
    lines = [f"| {' | '.join([*map(_escape, found.heads), *columns])} |",
             "|" + " --- |" * len(found.heads) + " ---: |" * len(found.columns)]
    for block in found.blocks:
        lines += [f"| {' | '.join([*map(_escape, line.heads), *map(_box, line.boxes)])} |" for line in block]
    notes = [line for note in below(table) for line in ("", _escape(note))]
    return "\n".join([*lines, "", _escape(caption(table)), *notes, ""])


def _box(box: Box) -> str:
    first, *more = map(_escape, box.lines)
    mark = f"<sup>{_escape(box.mark)}</sup>" if box.mark else ""
    return "<br>".join([MARKS[box.rank].format(first) + mark, *more])


def plain_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Any table of texts: the first column names the row, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(map(_escape, line))} |\n" for line in lines)


def _escape(text: str) -> str:
    """As it is read, in a cell or below: of one line, and no markup."""
    said = ACTS.sub(r"\\\g<0>", visible(" ".join(text.split())))
    return re.sub(r"&(?=#?\w+;)", "&amp;", said).replace("<", "&lt;")
