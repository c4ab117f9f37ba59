"""What a person sees while stages run: bars on a terminal, plain lines elsewhere."""

import os
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from smartad import tables
from smartad.cluster import Dispatcher
from smartad.records import visible
from smartad.stages.grade import GradeConfig
from smartad.store import Store, StoreError
from smartad.sweep.ledger import Ledger
from smartad.sweep.state import progress
from smartad.sweep.stopping import Stop

PLAIN_EVERY_S = 15.0
LOOK_S = 2.0
"""Between two looks at which of the submitted jobs have begun."""

HEADLINES = {"import": ("n", "questions", "quarantined"), "collect": ("n", "answered"), "grade": ("pass@1", "n", "ungraded"),
             "score": ("scored", "mean_nll"), "select": ("selected", "coverage", "mean_nll"),
             "train": ("examples", "first_loss", "last_loss"), "evaluate": ("n", "answered")}
"""What is said of a stage when it ends; of others, their first metrics."""


def console(stderr: bool = False) -> Console:
    """A console that does not guess a width where there is none."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else 160)


def say(text: str) -> None:
    """A line, or several, on standard output."""
    print(visible(text))


def program(folder: str | Path = ".") -> str:
    """How this command line is called from ``folder``; without it, from where the person is."""
    if shutil.which("smartad"):
        return "smartad"
    beside = Path(sys.executable).parent / "smartad"
    return os.path.relpath(beside, folder) if beside.exists() else "python -m smartad"


def at_store(store: Store, folder: str | Path = ".") -> str:
    """The option by which a command printed for the person finds this store; empty when it does so without."""
    default = (Path(folder) / os.environ.get("SMARTAD_STORE", "runs")).absolute()
    return "" if store.root == default else f" --store {shlex.quote(str(store.root))}"


def again(store: Store, book: Ledger) -> str:
    """The command that goes on with a sweep: the one by which it was started last."""
    if book.start is None:
        return "start the same `smartad sweep ...` again"
    words, folder = book.start.words, book.start.folder
    at = "" if any(word.startswith("--store") for word in words) else at_store(store, folder)
    there = "" if Path.cwd() == Path(folder) else f"cd {shlex.quote(folder)} && "
    return f"{there}{program(folder)} {shlex.join(words)}{at}"


class Watch:
    """Shows a dispatcher's rounds.  Use as a context; call it after each round."""

    def __init__(self, dispatcher: Dispatcher, owners: Callable[[], Mapping[str, str]] = dict,
                 stopped: Callable[[], Mapping[str, Stop]] = dict, queue: bool = False) -> None:
        """``owners``, ``stopped``: what a Driver says.  ``queue``: what is submitted may wait in one before it runs."""
        self.dispatcher, self.owners, self.stopped, self.queue = dispatcher, owners, stopped, queue
        self.given_up = set(stopped())
        self.away = False
        self.at_work: set[str] = set()
        self.looked = -LOOK_S
        self.owner_of: Mapping[str, str] = {}
        self.known = -1
        self.console = console(stderr=True)
        self.told = {f for f, state in dispatcher.states.items() if state == "done"}
        self.started = self.said = time.monotonic()
        self.bars = Progress(TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(),
                             TimeElapsedColumn(), console=self.console, transient=True) if self.console.is_terminal else None
        self.tasks: dict[str, TaskID] = {}
        if self.told:
            self.console.print(f"{len(self.told)} of {len(dispatcher.specs)} stages are finished already")

    def __enter__(self) -> "Watch":
        if self.bars:
            self.bars.start()
            self.tasks[""] = self.bars.add_task("[bold]all stages", total=len(self.dispatcher.specs))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        if self.bars:
            self.bars.stop()

    def __call__(self) -> None:
        self._tell_store()
        if self.away:
            return
        self._tell_ended()
        self._tell_stopped()
        silent = self.queue and self.dispatcher.executor.in_flight() is None
        submitted = [f for f, state in self.dispatcher.states.items()
                     if state == "running" or (silent and state == "waiting" and f in self.at_work)]
        running = self._begun(submitted) if self.queue else submitted
        queued = "SLURM does not answer" if silent else f"{len(submitted) - len(running)} queued"
        counts = f"{len(running)} running, {queued}" if self.queue else ""
        if self.bars:
            self._draw(running, counts)
        elif submitted and time.monotonic() - self.said > PLAIN_EVERY_S:
            some = ", ".join(f"{self._describe(f)} {_part(self.dispatcher.store, f)}".strip() for f in running[:4])
            self._say("; ".join(filter(None, [counts, some and f"running: {some}"])))

    def _tell_store(self) -> None:
        """Once when it goes, and once when it is back."""
        if self.dispatcher.away != self.away:
            self.away = self.dispatcher.away
            self._say(f"the store {escape(str(self.dispatcher.store.root))} "
                      + ("does not answer; nothing is concluded until it is back" if self.away else "is back"))

    def _tell_ended(self) -> None:
        for fingerprint, state in self.dispatcher.states.items():
            if fingerprint in self.told or state not in ("done", "failed", "blocked"):
                continue
            what = self._describe(fingerprint)
            if state == "done":
                try:
                    said = summary(self.dispatcher.store, fingerprint)
                except (StoreError, OSError):  # the store has gone this very moment; it is told when that is back
                    continue
                self._say(f"{what}  {said}")
            elif state == "failed":
                failure = self.dispatcher.failures[fingerprint]
                self._say(f"{what}  [red]failed[/red] ({failure.kind}): {escape(failure.message)}")
            self.told.add(fingerprint)

    def _tell_stopped(self) -> None:
        for label, stop in self.stopped().items():
            if label not in self.given_up:
                self.given_up.add(label)
                self._say(f"[yellow]stopped[/yellow]  {escape(stopped_line(label, stop))}")

    def _begun(self, submitted: list[str]) -> list[str]:
        """Those of ``submitted`` that somebody works on, as far as was seen a moment ago."""
        if time.monotonic() - self.looked >= LOOK_S:
            self.looked = time.monotonic()
            self.at_work = {f for f in submitted if self.dispatcher.store.claimed(f)}
        return [f for f in submitted if f in self.at_work]

    def _describe(self, fingerprint: str) -> str:
        """``evaluate-1f2e3d4c5b6a toy_math (SmartAD, seed 0)``."""
        roles = self.dispatcher.specs[fingerprint].inputs
        benchmarks = [role.removeprefix("questions/") for role in roles if role.startswith("questions/")]
        if self.known != len(self.dispatcher.specs):  # a search has proposed more since
            self.owner_of, self.known = self.owners(), len(self.dispatcher.specs)
        owner = self.owner_of.get(fingerprint)
        config = self.dispatcher.specs[fingerprint].config
        graders = f"by {', '.join(dict.fromkeys(config.graders.values()))}" if isinstance(config, GradeConfig) else ""
        parts = [fingerprint, "+".join(benchmarks), graders, f"[dim]({escape(visible(owner))})[/dim]" if owner else ""]
        return " ".join(part for part in parts if part)

    def _say(self, text: str) -> None:
        self.said = time.monotonic()
        counts = Counter(self.dispatcher.states.values())
        since, total = time.monotonic() - self.started, len(self.dispatcher.specs)
        self.console.print(f"[dim]{since:6.1f}s[/dim] {counts['done']:4d}/{total}  {visible(text)}", soft_wrap=True)

    def _draw(self, running: list[str], note: str) -> None:
        """A bar for each of ``running`` that there is room for."""
        assert self.bars
        counts = Counter(self.dispatcher.states.values())
        self.bars.update(self.tasks[""], description=f"[bold]all stages[/bold]  {note}", completed=counts["done"],
                         total=len(self.dispatcher.specs))
        shown = running[:max(1, self.console.height - 3)]
        for fingerprint in [f for f in self.tasks if f and f not in shown]:
            self.bars.remove_task(self.tasks.pop(fingerprint))
        for fingerprint in shown:
            if fingerprint not in self.tasks:
                self.tasks[fingerprint] = self.bars.add_task(f"  {self._describe(fingerprint)}", total=None)
            if part := progress(self.dispatcher.store, fingerprint):
                self.bars.update(self.tasks[fingerprint], completed=part[0], total=part[1])


def stopped_line(label: str, stop: Stop) -> str:
    """Which trial was stopped early, and by what it was judged."""
    return f"{label}: {stop.score:.1f} at {', '.join(stop.at)}, where {stop.against} has {stop.bar:.1f} ({stop.rule})"


def summary(store: Store, fingerprint: str) -> str:
    """A finished stage in a few words: how long it took and its headline metrics."""
    record = store.record(fingerprint)
    chosen = HEADLINES.get(record["identity"]["stage"], tuple(record["metrics"])[:4])
    metrics = ", ".join(f"{k} {format_metric(record['metrics'][k])}" for k in chosen if k in record["metrics"])
    return f"{record['seconds']:.1f} s  {metrics}"


def format_metric(value: float | None) -> str:
    """A scalar for reading."""
    if value is None:
        return tables.HOLE
    return f"{value:d}" if isinstance(value, int) else f"{value:.4g}"


def _part(store: Store, fingerprint: str) -> str:
    part = progress(store, fingerprint)
    return f"{part[0]}/{part[1]}" if part else ""
