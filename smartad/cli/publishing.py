"""publish: bring trackers up to date from the store."""

import argparse
import threading
import time
from collections.abc import Sequence

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from smartad import tracking
from smartad.cli.console import PLAIN_EVERY_S, at_store, console, program
from smartad.redact import redact
from smartad.store import Store
from smartad.sweep import ledger
from smartad.sweep.ledger import Ledger
from smartad.sweep.publish import Published, publish
from smartad.tracking import wandb_server

END_S = 60.0
"""How long the end of a sweep waits for each tracker."""


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


def publish_at_end(store: Store, book: Ledger, names: Sequence[str]) -> None:
    """What a sweep's end leaves for its trackers: its summary, its aliases, and whatever they were behind on.

    A tracker that is away does not hold the person up: it is named, with the command that makes it good later.
    """
    for name in names:
        if name == "wandb" and wandb_server.mode() != "online":
            continue
        outcome: list[Published | Exception] = []
        with Sending(name) as sending:
            sender = threading.Thread(target=_send, args=(store, book, name, sending, outcome), daemon=True)
            sender.start()
            sender.join(END_S)
        found = outcome[0] if outcome else TimeoutError(f"it was not told everything within {END_S:g} s")
        if isinstance(found, Exception):
            console(stderr=True).print(f"{name} has not got all of it: {escape(redact(str(found)))}. When it can be reached:\n"
                                       f"  {program()} publish {book.name} --to {name}{at_store(store)}", soft_wrap=True)
        elif found.wrong or found.address:
            print_published(found)


def _send(store: Store, book: Ledger, name: str, sending: "Sending", outcome: list[Published | Exception]) -> None:
    try:
        outcome.append(publish(store, book, tracking.mirror(name, store.root), sending))
    except Exception as error:
        outcome.append(error)


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
