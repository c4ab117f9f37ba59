"""publish: bring trackers up to date from the store."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from smartad import tracking
from smartad.cli import USER_ERROR
from smartad.cli.console import PLAIN_EVERY_S, at_store, console, program
from smartad.store import Store
from smartad.sweep import ledger
from smartad.sweep.ledger import Ledger
from smartad.sweep.publish import Published, publish
from smartad.tracking import wandb_server
from smartad.types import UserError

END_S = 60.0
"""How long the end of a sweep waits for each tracker."""


def publish_command(args: argparse.Namespace) -> int:
    """Tell trackers what they lack of a sweep, and check what they have then.  One that is away does not hold up the others."""
    store = Store(args.store)
    book = ledger.load(store, args.sweep)
    names = args.to.split(",") if args.to else tracking.default()
    mirrors = [tracking.mirror(name, store.root) for name in names]
    status = 0
    for mirror in mirrors:
        try:
            with Sending(mirror.name) as sending:
                found = publish(store, book, mirror, sending)
        except UserError as error:
            print(f"smartad: {mirror.name}: {error}", file=sys.stderr)
            status = USER_ERROR
            continue
        print_published(found)
        status = status or bool(found.wrong)
    return int(status)


def publish_at_end(store: Store, book: Ledger, names: Sequence[str]) -> None:
    """What a sweep's end leaves for its trackers: its summary, its aliases, and whatever they were behind on.

    In a process of its own, which is ended after END_S: a tracker that hangs would keep this one from ending, too.
    """
    for name in names:
        if name == "wandb" and wandb_server.mode() != "online":
            continue
        words = ["publish", book.name, "--to", name, "--store", str(store.root)]
        child = subprocess.Popen([sys.executable, "-m", "smartad", *words], start_new_session=True)
        try:
            told = child.wait(END_S) == 0
        except subprocess.TimeoutExpired:
            told = False
            print(f"smartad: {name} was not told everything within {END_S:g} s", file=sys.stderr)
        finally:
            with contextlib.suppress(ProcessLookupError):  # with whatever it has started
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        if not told:
            print(f"When {name} can be reached, this shows it the sweep:\n"
                  f"  {program()} publish {book.name} --to {name}{at_store(store)}", file=sys.stderr)


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
