"""publish: bring trackers up to date from the store."""

import argparse
import time
from collections.abc import Sequence

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from smartad import tracking
from smartad.cli.console import PLAIN_EVERY_S, console
from smartad.store import Store
from smartad.sweep import ledger
from smartad.sweep.publish import Published, publish
from smartad.tracking import wandb_server
from smartad.types import UserError


def publish_command(args: argparse.Namespace) -> int:
    """Tell trackers what they lack of a sweep, and check what they have then."""
    store = Store(args.store)
    book = ledger.load(store, args.sweep)
    names = args.to.split(",") if args.to else tracking.configure(None, store.root).names
    mirrors = [tracking.mirror(name, store.root) for name in names]
    wrong = 0
    for mirror in mirrors:
        with Sending(mirror.name) as sending:
            found = publish(store, book, mirror, sending)
        print_published(found)
        wrong += len(found.wrong)
    return 1 if wrong else 0


def publish_ended(store: Store, book: ledger.Ledger, names: Sequence[str]) -> None:
    """Let a sweep that has ended be seen as a whole.  It has ended well, also where a tracker cannot be brought up to date."""
    for name in names:
        if name == "wandb" and wandb_server.mode() != "online":
            continue
        try:
            with Sending(name) as sending:
                found = publish(store, book, tracking.mirror(name, store.root), sending)
        except UserError as error:
            console(stderr=True).print(f"{name} is not up to date: {escape(str(error))}", soft_wrap=True)
            continue
        if found.wrong or found.address:
            print_published(found)


def print_published(found: Published) -> None:
    """One tracker's line, and what is wrong there."""
    out = console()
    if not found.mended and not found.wrong:
        out.print(f"{found.tracker}: nothing to do, {found.right} stages are as in the store", soft_wrap=True)
    else:
        out.print(f"{found.tracker}: {found.right} stages were right, {len(found.mended)} things are mended, "
                  f"{len(found.wrong)} wrong", soft_wrap=True)
    for name, problem in found.wrong.items():
        out.print(f"  [red]{escape(name)}[/red]  {escape(problem)}", soft_wrap=True)
    if found.address:
        out.print(f"  {escape(found.address)}", soft_wrap=True)


class Sending:
    """How many stages a tracker has been told so far: a bar on a terminal, now and then a line elsewhere."""

    def __init__(self, tracker: str) -> None:
        self.tracker, self.said = tracker, time.monotonic()
        self.console = console(stderr=True)
        self.bar = Progress(TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn(),
                            console=self.console, transient=True) if self.console.is_terminal else None

    def __enter__(self) -> "Sending":
        if self.bar:
            self.bar.start()
            self.task = self.bar.add_task(self.tracker, total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def __call__(self, done: int, total: int) -> None:
        if self.bar:
            self.bar.update(self.task, completed=done, total=total)
        elif time.monotonic() - self.said > PLAIN_EVERY_S:
            self.said = time.monotonic()
            self.console.print(f"{self.tracker}: {done} of {total} stages sent")
