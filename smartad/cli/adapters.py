"""pull, ask: take an adapter out of the store, and use it."""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rich.markup import escape

from smartad import dialect, models, registry
from smartad.cli.console import console
from smartad.records import from_json
from smartad.stage import Runtime
from smartad.stages.episodes import run_episodes
from smartad.store import Store
from smartad.sweep import ledger
from smartad.types import Question, Trajectory, UserError


def pull_command(args: argparse.Namespace) -> int:
    """Copy an adapter out of the store."""
    store = Store(args.store)
    sweep = ledger.load(store, args.sweep).name if args.sweep else None
    fingerprint = _fingerprint(store, args.name, sweep)
    folders = {models.identify(folder): folder for folder in args.model}
    name = fingerprint if args.name.startswith("train-") else args.name
    pulled = registry.pull(store.root, name, args.to, recipe_of(store, fingerprint), models=folders, sweep=sweep)
    print(f"{args.name} is {pulled.fingerprint}: checksums verified, copied to {pulled.folder}\n"
          f"base model {pulled.base}, loaded from {pulled.loads_from}\n"
          f'try it:  smartad ask --adapter {pulled.folder} "your question"')
    return 0


def _fingerprint(store: Store, name: str, sweep: str | None) -> str:
    """What ``name`` means: an alias, of one sweep, or the beginning of a train stage's fingerprint."""
    if name.startswith("train-"):
        return store.find(name)
    sweeps = sorted({str(entry.sweep) for entry in registry.entries(store.root, sweep) if entry.alias == name})
    if len(sweeps) > 1:
        raise UserError(f"{name!r} means an adapter of each of {', '.join(sweeps)}; say which with --sweep")
    return registry.resolve(store.root, name, sweep)


def recipe_of(store: Store, adapter: str) -> dict[str, Any]:
    """How an adapter was made and evaluated, from the records that cite it.

    Keys: train (its config), evaluate (the config it was evaluated with; None when it never was), corpus, row
    (benchmark -> correct, n, ungraded).  Evaluated in several ways, it is told as in the latest.
    """
    recipe: dict[str, Any] = {"train": store.record(adapter)["identity"]["config"], "evaluate": None, "corpus": None, "row": {}}
    evaluations = [r for f in store.fingerprints() if f.startswith("evaluate-")
                   and (r := store.record(f))["identity"]["inputs"].get("adapter") == adapter]
    if not evaluations:
        return recipe
    latest = max(evaluations, key=lambda record: record["started"])
    recipe["evaluate"] = latest["identity"]["config"]
    if index := latest["identity"]["inputs"].get("index"):
        recipe["corpus"] = store.record(index)["identity"]["config"]
    alike = {record["fingerprint"]: record["identity"]["inputs"] for record in evaluations
             if record["identity"]["config"] == recipe["evaluate"] and record["identity"]["inputs"].get("index") == index}
    for grade in (store.record(f) for f in store.fingerprints() if f.startswith("grade-")):
        if inputs := alike.get(grade["identity"]["inputs"]["attempts"]):
            benchmark = next(role for role in inputs if role.startswith("questions/")).removeprefix("questions/")
            recipe["row"][benchmark] = {name: grade["metrics"][name] for name in ("correct", "n", "ungraded")}
    return recipe


def ask_command(args: argparse.Namespace) -> int:
    """Let a pulled adapter answer one question, and show its steps."""
    if not args.question.strip():
        raise UserError("there is no question to answer")
    card = registry.read_pulled(args.adapter)
    evaluated = card["recipe"]["evaluate"]
    if evaluated is None:
        raise UserError(f"{args.adapter} was pulled before it was ever evaluated, so how it acts is not known; "
                        "finish its sweep and pull it again")
    runtime = Runtime(data=args.data, models={models.identify(folder): folder for folder in args.model})
    trajectory = answer(args.adapter, card["base"], args.question, evaluated, card["recipe"]["corpus"], runtime)
    show(trajectory, evaluated["dialect"])
    return 0 if trajectory.stop == "answered" else 1


def answer(adapter: Path, base: str, question: str, evaluated: dict[str, Any], corpus: dict[str, Any] | None,
           runtime: Runtime) -> Trajectory:
    """One episode, run as the adapter was evaluated."""
    from smartad.engines import hf
    from smartad.stages import evaluate, index

    folder = Path(tempfile.mkdtemp(prefix="smartad-ask-"))
    try:
        inputs = {}
        if corpus:
            inputs["index"] = folder / "index"
            inputs["index"].mkdir()
            index.run(from_json(index.IndexConfig, corpus), {}, inputs["index"], runtime)
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
    for number, step in enumerate(trajectory.steps, 1):
        out.print(f"[bold]step {number}[/bold] [{style.get(step.status, 'red')}]{step.status}")
        out.print(escape(dialect.thought_of(step.text, dialect.DIALECTS[form]) or step.text), soft_wrap=True)
        if step.action:
            out.print("code:", style="dim")
            out.print(escape(step.action), style="cyan", soft_wrap=True)
        if step.status != "final":
            out.print(escape(step.observation), style="dim", soft_wrap=True)
    if trajectory.stop == "answered":
        out.print(f"[bold]answer:[/bold] {escape(str(trajectory.answer))}")
    else:
        out.print(f"[red]no answer[/red]: {trajectory.stop} after {len(trajectory.steps)} step(s)")
