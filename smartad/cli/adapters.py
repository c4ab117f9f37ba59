"""aliases, promote, pull, ask: name adapters, take them out of the store, and use them."""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table as RichTable

from smartad import dialect, models, registry, tables
from smartad.cli.console import console, format_metric, say
from smartad.fingerprint import FINGERPRINT
from smartad.records import from_json, visible
from smartad.registry import Entry, pulled
from smartad.registry.card import MERGED
from smartad.stage import Runtime
from smartad.stages.episodes import run_episodes
from smartad.store import Store
from smartad.sweep import ledger
from smartad.tracking import wandb_registry
from smartad.types import Question, Trajectory, UserError

SOURCES = {"store": "the store", "wandb": "W&B"}
AUTOMATIC = ("best", registry.LATEST)
"""Aliases, and beginnings of them before a colon, that a sweep says anew when it ends."""


def aliases_command(args: argparse.Namespace) -> int:
    """What aliases mean, or how they came to it."""
    store = Store(args.store)
    sweep = _sweep(store, args.sweep)
    if args.log:
        for line in log(registry.entries(store, sweep)):
            say(line)
        return 0
    found = registry.current(store, sweep)
    if not found:
        print(f"no aliases{f' of sweep {sweep}' if sweep else ''} in {store.root}: a sweep makes some when it ends, and "
              "`smartad promote` at any time")
        return 0
    grid = RichTable(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for heading in ("alias", "adapter", "score", "sweep", "when, who and why"):
        grid.add_column(heading, no_wrap=heading in ("alias", "adapter"), overflow="fold")
    for entry in sorted(found, key=lambda entry: (entry.sweep or "", entry.alias)):
        score = f"{entry.metric} {format_metric(entry.value)}" if entry.metric else tables.HOLE
        grid.add_row(*map(escape, (entry.alias, str(entry.fingerprint), score, entry.sweep or tables.HOLE,
                                   visible(f"{_when(entry)} by {entry.by}: {entry.reason}"))))
    console().print(grid)
    return 0


def log(entries: list[Entry]) -> list[str]:
    """The audit log, a line for each decision: when, what, instead of what, who and why."""
    lines, meant = [], dict[tuple[str, str | None], str | None]()
    for entry in entries:
        key = entry.alias, entry.sweep
        before = f" instead of {meant[key]}" if meant.get(key) else ""
        now = "means nothing any more" if entry.fingerprint is None else f"means {entry.fingerprint}"
        metric = f", {entry.metric} {format_metric(entry.value)}" if entry.metric else ""
        sweep = f" of {entry.sweep}" if entry.sweep else ""
        lines.append(f"{_when(entry)}  {entry.alias}{sweep} {now}{before}{metric}  by {entry.by}: {entry.reason}")
        meant[key] = entry.fingerprint
    return lines


def _sweep(store: Store, word: str | None) -> str | None:
    """The sweep that ``word`` means; one that was forgotten may have aliases that a person gave."""
    if word is None or word in {entry.sweep for entry in registry.current(store)}:
        return word
    return ledger.load(store, word).name


def _when(entry: Entry) -> str:
    return time.strftime("%F %T", time.localtime(entry.time))


def promote_command(args: argparse.Namespace) -> int:
    """Let an alias mean an adapter, or nothing any more."""
    store = Store(args.store)
    if not args.reason.strip():
        raise UserError("--reason is empty: whoever reads `smartad aliases --log` will want to know why")
    sweep = _sweep(store, args.sweep)
    before = next((entry for entry in registry.current(store) if (entry.alias, entry.sweep) == (args.alias, sweep)), None)
    name = f"{args.alias}{f' of sweep {sweep}' if sweep else ''}"
    if args.fingerprint == "none":
        registry.withdraw(store, args.alias, reason=args.reason, sweep=sweep)
        print(f"{name} means nothing any more")
    else:
        fingerprint = args.fingerprint if FINGERPRINT.fullmatch(args.fingerprint) else store.find(args.fingerprint)
        if sweep and fingerprint not in {run.train for trial in ledger.load(store, sweep).trials for run in trial.runs}:
            raise UserError(f"{fingerprint} is no adapter of sweep {sweep}; `smartad status {sweep}` names those, and without "
                            "--sweep an alias is of none")
        registry.promote(store, args.alias, fingerprint, reason=args.reason, sweep=sweep)
        print(f"{name} means {fingerprint} now")
    say(f"before, it meant {before.fingerprint}: {before.reason} ({before.by}, {_when(before)})" if before else
        "before, it meant nothing")
    if sweep and args.alias.partition(":")[0] in AUTOMATIC:
        print(f"when {sweep} is started again and ends, it says anew what {args.alias} means")
    return 0


def pull_command(args: argparse.Namespace) -> int:
    """Copy an adapter out of the store, or out of W&B."""
    if args.source == "store":
        store = Store(args.store)
        name = store.find(args.name) if args.name.startswith("train-") else args.name
        return _pull(args, store, name, _sweep(store, args.sweep))
    sweep = ledger.name_of(args.sweep) if args.sweep else None
    with tempfile.TemporaryDirectory(prefix="smartad-pull-") as folder:
        store = Store(Path(folder)).open()
        fingerprint = wandb_registry.fetch(args.name, sweep, store.root)
        if args.name != fingerprint:
            registry.promote(store, args.name, fingerprint, reason="as in W&B", sweep=sweep)
        return _pull(args, store, args.name, sweep)


def _pull(args: argparse.Namespace, store: Store, name: str, sweep: str | None) -> int:
    folders = {models.identify(folder): folder for folder in args.model}
    merge = Runtime(models=folders, threads=os.cpu_count() or 1) if args.merge else None
    made = pulled.pull(store, name, args.to, models=folders, sweep=sweep, merge=merge)
    print(f"{args.name} is {made.about.fingerprint}: checksums verified, copied from {SOURCES[args.source]} to {made.folder}\n"
          f"base model {made.about.base}, loaded from {made.loads_from}")
    if made.merged:
        print(f"merged with it in {made.folder / MERGED} ({made.merged.dtype}): {made.merged.equal} of "
              f"{made.merged.prompts} greedy answers equal, logits within {made.merged.difference:.2g}")
    print(f'what it is:  {made.folder / "README.md"}\n'
          f'try it:  smartad ask --adapter {made.folder} "your question"')
    return 0


def ask_command(args: argparse.Namespace) -> int:
    """Let a pulled adapter answer one question, and show its steps."""
    if not args.question.strip():
        raise UserError("there is no question to answer")
    card = pulled.read(args.adapter)
    evaluated = card["recipe"]["evaluate"]
    if evaluated is None:
        raise UserError(f"{args.adapter} was pulled before it was ever evaluated, so how it acts is not known; "
                        "finish its sweep and pull it again")
    runtime = Runtime(data=args.data, models=pulled.base_folders(args.adapter, card["base"], args.model), sandbox=args.sandbox)
    trajectory = answer(args.adapter, card["base"], args.question, evaluated, card["recipe"]["index"], runtime)
    show(trajectory, evaluated["dialect"])
    return 0 if trajectory.answer is not None else 1


def answer(adapter: Path, base: str, question: str, evaluated: dict[str, Any], searched: Mapping[str, Any] | None,
           runtime: Runtime) -> Trajectory:
    """One episode, run as the adapter was evaluated."""
    from smartad.engines import hf
    from smartad.stages import evaluate, index

    folder = Path(tempfile.mkdtemp(prefix="smartad-ask-"))
    try:
        inputs = {}
        if searched:
            inputs["index"] = folder / "index"
            inputs["index"].mkdir()
            index.run(from_json(index.IndexConfig, searched), {}, inputs["index"], runtime)
        config = from_json(evaluate.EvaluateConfig, evaluated)
        student = hf.load(base, runtime, adapter)
        asked = [Question("ask/0", question, ())]
        return run_episodes(config, asked, 1, student, inputs.get("index"), folder, runtime)[0]
    finally:
        shutil.rmtree(folder)


def show(trajectory: Trajectory, form: str) -> None:
    """An episode as a person reads it."""
    out = console()
    style = {"ok": "green", "final": "bold green"}
    if trajectory.passages:
        out.print(escape(trajectory.passages), style="dim", soft_wrap=True)
    for number, step in enumerate(trajectory.steps, 1):
        out.print(f"[bold]step {number}[/bold] [{style.get(step.status, 'red')}]{step.status}")
        out.print(escape(dialect.thought_of(step.text, dialect.DIALECTS[form]) or step.text), soft_wrap=True)
        if step.action:
            out.print("code:", style="dim")
            out.print(escape(step.action), style="cyan", soft_wrap=True)
        if step.status != "final" and step.observation:
            out.print(escape(step.observation), style="dim", soft_wrap=True)
    if trajectory.answer is not None:
        out.print(f"[bold]answer:[/bold] {escape(trajectory.answer)}")
    else:
        out.print(f"[red]no answer[/red]: {trajectory.stop} after {len(trajectory.steps)} step(s)")
