"""Tables as HTML: a fragment for a larger page, and a page of its own that opens without a server or a network."""

from collections.abc import Sequence
from html import escape

from smartad.records import visible
from smartad.tables.data import Table
from smartad.tables.grid import Box, grid
from smartad.tables.words import below, caption

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0; padding: 1rem; font: 16px/1.45 system-ui, sans-serif; color: #1b1f24; background: #fff; }}
{style}</style>
<div class="wide">
{table}
</div>
</html>
"""
STYLE = """.wide { overflow: auto; max-height: calc(100vh - 2rem); }
table.results { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums; }
table.results th, table.results td { padding: .3rem .7rem; text-align: right; vertical-align: top; white-space: nowrap; }
table.results thead { position: sticky; top: 0; z-index: 2; background: #fff; }
table.results thead tr:last-child th { border-bottom: 2px solid #1b1f24; }
table.results thead .group { text-align: center; border-bottom: 1px solid #8b949e; border-right: .7rem solid #fff; }
table.results .head { text-align: left; background: #fff; }
table.results tbody .head:last-of-type { position: sticky; left: 0; z-index: 1; font-weight: 600; }
table.results tbody + tbody tr:first-child > * { border-top: 1px solid #8b949e; }
table.results tbody tr:hover > * { background: #f3f6fa; }
table.results .best { font-weight: 700; }
table.results .second .number { text-decoration: underline; text-underline-offset: .2em; }
table.results .hole { color: #656d76; }
table.results .more { display: block; font-size: .85em; font-weight: 400; color: #656d76; }
table.results sup { color: #b35900; line-height: 0; }
table.results caption, table.results tfoot td { text-align: left; white-space: normal; color: #424a53; font-size: .9em; }
table.results caption { caption-side: bottom; padding: .7rem; }
table.results .said { position: sticky; left: .7rem; max-width: min(60rem, calc(100vw - 4rem)); }
table.results tfoot tr:first-child td { border-top: 2px solid #1b1f24; }
"""


def html(table: Table) -> str:
    """A ``<table class="results">``.  Every number has what stands behind it in its ``title``; ``STYLE`` is for it."""
    found = grid(table, abouts=True)
    width = len(found.heads) + len(found.columns)
    lines = ['<table class="results">', _element("caption", _said(caption(table))), "<thead>"]
    if found.groups:
        over = [_element("th", _text(title), colspan=str(span), class_="group" if title else "", scope="colgroup")
                for title, span in found.groups]
        lines.append(_row([_element("th", "", class_="head", colspan=str(len(found.heads))), *over]))
    lines += [_row([*(_element("th", _text(head), class_="head", scope="col") for head in found.heads),
                    *(_element("th", _text(column), scope="col") for column in found.columns)]), "</thead>"]
    for block in found.blocks:
        rows = [_row([*(_element("th", _text(head), class_="head", scope="row") for head in line.heads), *map(_box, line.boxes)])
                for line in block]
        lines += ["<tbody>", *rows, "</tbody>"]
    if notes := below(table):
        lines += ["<tfoot>", *(_row([_element("td", _said(note), colspan=str(width))]) for note in notes), "</tfoot>"]
    return "\n".join([*lines, "</table>"])


def page(table: Table) -> str:
    """A page with the table alone: its head stays while it scrolls, and on a phone it scrolls sideways."""
    return PAGE.format(title=_text(table.title), style=STYLE, table=html(table))


def _box(box: Box) -> str:
    first, *more = box.lines
    parts = [_element("span", _text(first), class_="number"), _element("sup", _text(box.mark)) if box.mark else "",
             *(_element("span", _text(one), class_="more") for one in more)]
    return _element("td", "".join(parts), class_=box.rank if box.measured else "hole", title=box.about)


def _said(text: str) -> str:
    """Words below a table, which stay in sight while it scrolls sideways."""
    return _element("div", _text(text), class_="said")


def _row(elements: Sequence[str]) -> str:
    return _element("tr", "".join(elements))


def _element(name: str, inner: str, **attributes: str) -> str:
    """``inner`` is HTML, attributes are text; of those without a value none is written."""
    said = "".join(f' {key.rstrip("_")}="{_text(value)}"' for key, value in attributes.items() if value)
    return f"<{name}{said}>{inner}</{name}>"


def _text(text: str) -> str:
    return escape(visible(" ".join(text.split())))
