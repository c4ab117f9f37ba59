"""reproduce: what makes a cell again; and doing it."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from smartad import models
from smartad.analysis.arms import Spot, spot
from smartad.analysis.instructions import Instructions, instructions, walk_again
from smartad.analysis.likeness import Differing, Likeness, fresh, likeness
from smartad.analysis.walk import grader_of, walk
from smartad.cli.arguments import parse
from smartad.cli.console import at_store, program, say
from smartad.cli.running import run_command
from smartad.cli.walking import cell_text
from smartad.store import Store
from smartad.types import Trajectory, UserError


def reproduce_command(args: argparse.Namespace) -> int:
    """Say how a cell is made again, or make it and compare."""
    store = Store(args.store)
    cell = spot(store, args.cell)
    grader = grader_of(store, args.cell)
    found = walk(store, cell, grader)
    folders = {models.identify(str(folder)): str(folder.absolute()) for folder in args.model}
    said = instructions(store, cell, folders, str(args.data.absolute()) if args.data else None, grader)
    say(f"{cell.name}  {cell_text(found.cell)}")
    damage = [*found.wrong, *(wrong for station in found.stations() for wrong in station.wrong)]
    for line in [*(f"DAMAGED: {wrong}" for wrong in damage), *said.notes]:
        say(f"- {line}")
    say(_planned(said, cell))
    if args.to:
        _write(args.to, said)
    elif not args.run:
        for name, text in said.files.items():
            say(f"\n--- {name}\n{text}".removesuffix("\n"))
    return _run(args, store, cell, grader, said) if args.run else 0


def _planned(said: Instructions, cell: Spot) -> str:
    if not said.parted:
        return f"- this smartad plans the same {len(cell.run.stages)} stages: every fingerprint is the recorded one"
    return ("- THIS SMARTAD PLANS OTHER STAGES, recorded -> here; the commit in commands.sh is the one to run:\n"
            + "\n".join(f"    {line}" for line in said.parted))


def _write(folder: Path, said: Instructions) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in said.files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--to {folder} cannot be written: {error.strerror}; name a folder") from error
    say(f"written: {', '.join(str(folder / name) for name in said.files)}")
    say(f"in a checkout of smartad: sh {shlex.quote(str(folder / 'commands.sh'))}")


def _run(args: argparse.Namespace, store: Store, cell: Spot, grader: str | None, said: Instructions) -> int:
    if said.parted:
        raise UserError(f"this smartad would not make {cell.name} again, but something else: {said.parted[0]}; check out the "
                        "commit that commands.sh names, and run it there")
    if said.lacking:
        raise UserError(f"{', '.join(said.lacking)}: a local model, and nobody has said where it is; give --model FOLDER")
    other = Store(args.store_to or fresh(store, cell.run.goal))
    if other.root == store.root:
        raise UserError(f"--store-to {args.store_to} is the store itself, where everything is finished; name another folder")
    other.open()
    experiment = other.root / "experiment.yaml"
    experiment.write_text(said.files["experiment.yaml"], encoding="utf-8")
    where = [word for name in ("cluster", "jobs") if (value := getattr(args, name)) is not None
             for word in (f"--{name}", str(value))]
    status = run_command(parse(["run", str(experiment), "--store", str(other.root), "--track", "none", *where]))
    if status:
        return status
    if not other.has(cell.run.goal):
        raise UserError(f"{cell.run.goal} is not finished in {other.root}, and nothing failed; run the same command again with "
                        f"--store-to {other.root}")
    like = likeness(store, cell, other, grader)
    _print_likeness(cell, like)
    say(f"look at it: {program()} {walk_again(cell, grader)}{at_store(other)}")
    return 0 if like.explained else 1


def _print_likeness(cell: Spot, like: Likeness) -> None:
    say(f"\n{cell.name} on record  {cell_text(like.recorded)}\nmade again  {cell_text(like.again)}")
    say(f"verdicts: {_count(like.verdicts)}")
    for recorded, again in like.verdicts.pairs[:5]:
        one = recorded or again
        assert one
        words = [{True: "right", False: "wrong", None: "ungraded"}[v.correct] if v else "not there" for v in (recorded, again)]
        say(f"    {one.question_id} sample {one.sample}: {words[0]} -> {words[1]}")
    say(f"attempts: {_count(like.attempts)}{_first(like.attempts)}")
    if like.pool:
        say(f"pool: {_count(like.pool)}{_first(like.pool)}")
    if like.same_adapter is not None:
        print(f"adapter: {'the same bytes' if like.same_adapter else 'other bytes'}")
    for line in like.environment:
        say(f"made elsewhere: {line}")
    print(_judged(like))


def _judged(like: Likeness) -> str:
    if like.same:
        return "The same cell, verdict by verdict."
    if like.repeatable:
        return "NOT THE SAME CELL, though every engine that had a part in it says the same again on a CPU."
    if like.lost:
        return f"NOT THE SAME CELL: {like.lost} attempts have a verdict in one of the two alone."
    chance = f"McNemar's exact test of the verdicts that parted: p = {like.p:.3g}"
    return (f"Another cell, and with n = {like.verdicts.of} not distinguishable from what engines make that do not say the same "
            f"twice ({chance})." if like.explained else
            f"NOT THE SAME CELL, and more than engines explain that do not say the same twice ({chance}).")


def _count(differing: Differing[Any]) -> str:
    return f"all {differing.of} the same" if not differing.pairs else f"{len(differing.pairs)} of {differing.of} differ"


def _first(attempts: Differing[Trajectory]) -> str:
    """Where the first of those that differ parts."""
    if not attempts.pairs:
        return ""
    recorded, again = attempts.pairs[0]
    if recorded is None or again is None:
        return f"; {(recorded or again).question_id} is there only once"  # type: ignore[union-attr]
    steps = zip(recorded.steps, again.steps, strict=False)
    part = next((at for at, (one, other) in enumerate(steps, 1) if one != other), min(len(recorded.steps), len(again.steps)) + 1)
    return f", the first {recorded.question_id} sample {recorded.sample} at step {part}: {recorded.answer!r} -> {again.answer!r}"
