"""Comparison tables like the papers': rows are arms, columns benchmarks, best bold, second underlined, n always there.

``build`` makes a ``Table`` of finished cells; the modules ``in_*`` write one.  Nothing here knows a store.
"""

from smartad.tables.building import build
from smartad.tables.data import AVERAGE, HOLE, MICRO, STOPPED, Entry, RunCells, Table
from smartad.tables.in_csv import as_csv
from smartad.tables.in_html import html, page
from smartad.tables.in_latex import latex, plain_latex
from smartad.tables.in_markdown import markdown, plain_markdown
from smartad.tables.printed import Printed
from smartad.tables.words import caption

__all__ = ["AVERAGE", "HOLE", "MICRO", "STOPPED", "Entry", "Printed", "RunCells", "Table", "as_csv", "build", "caption", "html",
           "latex", "markdown", "page", "plain_latex", "plain_markdown"]
