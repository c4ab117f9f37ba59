"""walk: from a cell of a table to everything it was made of."""

import argparse
import json
import shlex
import time
from pathlib import Path

from rich.text import Text
from rich.tree import Tree

from smartad import tables
from smartad.analysis.arms import spot
from smartad.analysis.walk import Answered, Station, Walk, answered, grader_of, of_question, walk
from smartad.cli.console import at_store, console, program
from smartad.records import to_json
from smartad.stats import wilson
from smartad.store import Store, StoreError
from smartad.types import Cell

WORDS = {True: "right", False: "wrong", None: "ungraded"}


def walk_command(args: argparse.Namespace) -> int:
    """Print the way from a cell to its questions, or some of its questions."""
    store = Store(args.store)
    found = walk(store, spot(store, args.cell), args.grader or grader_of(store, args.cell))
    wanted = [word for said, word in ((args.right, True), (args.wrong, False), (args.ungraded, None)) if said]
    if args.question is None and not wanted:
        if args.json:
            print(json.dumps(to_json(found), indent=2, ensure_ascii=False))
        else:
            _print_walk(store, found)
        return 0
    if found.top is None or found.top.state != "done":
        raise StoreError(f"{found.name} has no verdicts yet; `{program()} walk {args.cell}{at_store(store)}` says why")
    every = answered(store, found.top.fingerprint)
    some = of_question(every, args.question) if args.question is not None else \
        [one for one in every if one.verdict.correct in wanted]
    if args.json:
        print(json.dumps(to_json(some), indent=2, ensure_ascii=False))
    elif args.question is not None:
        for one in some:
            _print_question(one)
    else:
        _print_list(found.name, some, len(every))
    return 0


def _print_walk(store: Store, found: Walk) -> None:
    out = console()
    tree = Tree(Text.assemble((found.name, "bold"), f"  {cell_text(found.cell)}"), guide_style="dim")
    for name, cell in found.seeds.items():
        tree.add(Text(f"another seed: {name}  {cell_text(cell)}"))
    for wrong in found.wrong:
        tree.add(Text(f"does not fit: {wrong}", style="red"))
    _hang(tree, found.row)
    if found.top is None:
        tree.add("which of the row's stages are of this cell cannot be told yet: none of its questions is prepared")
    else:
        _hang(tree, found.top)
    out.print(tree, soft_wrap=True)
    damaged = [station.fingerprint for station in found.stations() if station.state == "done" and station.wrong]
    if damaged:
        out.print(f"[red]damaged:[/red] {', '.join(damaged)}", soft_wrap=True)
    me, at, cell_of = program(), at_store(store), shlex.quote(found.name)
    commands = {"one stage": f"show {(found.top or found.row).fingerprint}", "its wrong answers": f"walk {cell_of} --wrong",
                "one question, step by step": f"walk {cell_of} --question ID", "make it again": f"reproduce {cell_of}"}
    for what, command in commands.items():
        out.print(f"{what}: {me} {command}{at}", markup=False, soft_wrap=True)


def cell_text(cell: Cell | None) -> str:
    """A cell in a line: right, out of how many, its interval, and who graded."""
    if cell is None:
        return "not finished"
    if cell.percent is None:
        return f"nothing graded, {cell.ungraded} ungraded"
    low, high = wilson(*cell.draws)
    several = f" at {cell.questions} questions" if cell.questions is not None else ""
    ungraded = f", {cell.ungraded} ungraded" if cell.ungraded else ""
    return (f"{cell.percent:.1f}: {cell.correct} of {cell.n}{several} right{ungraded}, 95 % interval {low:.1f} to {high:.1f}; "
            f"{cell.grader}")


def _hang(tree: Tree, station: Station) -> None:
    branch = tree.add(_label(station))
    for below in station.made_of:
        _hang(branch, below)


def _label(station: Station) -> Text:
    return Text("\n").join([_heading(station), *([] if station.again else _lines(station))])


def _heading(station: Station) -> Text:
    if station.again:
        return Text.assemble((station.what, "bold"), "  ", (f"{station.fingerprint}, as above", "dim"))
    if station.made is None:
        return Text.assemble((station.what, "bold"), f"  {station.fingerprint}  ", (station.state, "red"))
    made = station.made
    when = time.strftime("%F %T", time.localtime(made.started + made.seconds))
    code = f"commit {made.commit[:12]}" if made.commit else "from no git checkout"
    dirty = (" with uncommitted changes", "red") if made.dirty else ""
    return Text.assemble((station.what, "bold"), f"  {station.fingerprint}  ",
                         (f"{when} on {made.host or tables.HOLE} in {made.seconds:g} s, {code}", "dim"), dirty)


def _lines(station: Station) -> list[Text]:
    facts = [Text.assemble((f"{name}: ", "dim"), text) for name, text in station.facts.items() if text]
    wrong = [Text(f"damaged: {line}" if station.state == "done" else line, style="red") for line in station.wrong]
    files = ", ".join(f"{Path(path).relative_to(station.folder)} {size}" for path, size in station.files.items())
    return [*facts, *wrong, *([Text(f"{station.folder}: {files} bytes", style="dim")] if files else [])]


def _print_question(one: Answered) -> None:
    out, verdict = console(), one.verdict
    said = Text.assemble((one.question.id, "bold"), f"  sample {one.attempt.sample}  ", (WORDS[verdict.correct], "bold"),
                         f" by {verdict.by}", f": {verdict.reason}" if verdict.reason else "")
    golds = " or ".join(one.question.answers) or "none, so nothing can be graded"
    answer = tables.HOLE if one.attempt.answer is None else one.attempt.answer
    out.print(said, soft_wrap=True)
    for name, text in (("question", one.question.text), ("gold", golds), ("answer", answer),
                       ("ended", ": ".join(filter(None, [one.attempt.stop, one.attempt.reason]))),
                       ("passages", one.attempt.passages)):
        if text:
            out.print(Text.assemble((f"{name}: ", "dim"), text), soft_wrap=True)
    for number, step in enumerate(one.attempt.steps, 1):
        out.print(Text.assemble((f"--- step {number}: {step.status}\n", "dim"), step.text, "\n", (step.observation, "dim")),
                  soft_wrap=True)


def _print_list(name: str, some: list[Answered], of: int) -> None:
    out = console()
    out.print(f"{name}: {len(some)} of {of} attempts", markup=False, soft_wrap=True)
    for one in some:
        answer = tables.HOLE if one.attempt.answer is None else repr(one.attempt.answer)
        sample = f" sample {one.attempt.sample}" if one.attempt.sample else ""
        out.print(f"{WORDS[one.verdict.correct]}  {one.question.id}{sample}: {answer}, gold "
                  f"{' or '.join(map(repr, one.question.answers)) or 'none'}; {one.verdict.reason}", markup=False, soft_wrap=True)
