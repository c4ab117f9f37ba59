"""report: a sweep as one HTML file."""

import argparse
import sys
import webbrowser
from pathlib import Path

from smartad.analysis import arms
from smartad.analysis.guard import guard, guarded
from smartad.cli.dashboards import desktop
from smartad.records import visible
from smartad.report.page import page, write
from smartad.store import Store
from smartad.sweep import ledger, results
from smartad.types import UserError


def report_command(args: argparse.Namespace) -> int:
    """Write the page."""
    store = Store(args.store)
    book = ledger.load(store, args.sweep)
    path: Path = args.to or Path(f"{Path(book.name).name}.html")
    if path.is_dir() or not path.absolute().parent.is_dir():
        why = "is a folder" if path.is_dir() else "is in no folder that there is"
        raise UserError(f"--to {path} {why}: name a file to write, as in --to {Path(book.name).name}.html")
    baseline = arms.baseline(store, book, args.baseline) if book.trials else None
    print(f"{book.name}: reading", file=sys.stderr)
    table = guarded(results.table(store, book), guard(store, book))
    html = page(store, book, table, baseline, args.trajectories,
                lambda what: print(visible(f"{book.name}: {what}"), file=sys.stderr))
    write(path, html)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    if args.open and desktop():
        webbrowser.open(path.absolute().as_uri())
    return 0
