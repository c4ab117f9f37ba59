"""walk: from a cell of a table to everything it was made of."""

import argparse
import json
import shlex
import time
from pathlib import Path

from rich.text import Text
from rich.tree import Tree

from smartad import tables
from smartad.analysis.arms import Spot, spot
from smartad.analysis.walk import Answered, Station, Walk, answered, grader_of, of_question, walk
from smartad.cli.console import at_store, console, program, say
from smartad.records import to_json, visible
from smartad.stats import wilson
from smartad.store import Store, StoreError
from smartad.types import Cell

WORDS = {True: "right", False: "wrong", None: "ungraded"}


def walk_command(args: argparse.Namespace) -> int:
    """Print the way from a cell to its questions, or some of its questions."""
    store = Store(args.store)
    cell, grader = spot(store, args.cell), args.grader or grader_of(store, args.cell)
    found = walk(store, cell, grader)
    wanted = [word for said, word in ((args.right, True), (args.wrong, False), (args.ungraded, None)) if said]
    if args.question is None and not wanted:
        if args.json:
            print(json.dumps(to_json(found), indent=2))
        else:
            _print_walk(found)
            _print_ways_on(store, cell, found, grader)
        return 0
    if found.top is None or found.top.state != "done":
        raise StoreError(f"{found.name} has no verdicts yet; `{program()} walk {args.cell}{at_store(store)}` says why")
    every = answered(store, found.top.fingerprint)
    some = of_question(every, args.question) if args.question is not None else \
        [one for one in every if one.verdict.correct in wanted]
    if args.json:
        print(json.dumps(to_json(some), indent=2))
    elif args.question is not None:
        for one in some:
            _print_question(one)
    else:
        _print_list(found.name, some, len(every))
    return 0


def _text(*parts: str | tuple[str, str]) -> Text:
    """Text, and (text, style), of which nothing is obeyed."""
    return Text.assemble(*(visible(part) if isinstance(part, str) else (visible(part[0]), part[1]) for part in parts))


UNCUT = 10_000
"""Characters of a line."""


def _print_walk(found: Walk) -> None:
    out = console()
    if not out.is_terminal:
        out.width = UNCUT
    tree = Tree(_text((found.name, "bold"), f"  {cell_text(found.cell)}"), guide_style="dim")
    for name, cell in found.seeds.items():
        tree.add(_text(f"another seed: {name}  {cell_text(cell)}"))
    for wrong in found.wrong:
        tree.add(_text((f"does not fit: {wrong}", "red")))
    _hang(tree, found.row)
    if found.top is None:
        tree.add("which of the row's stages are of this cell cannot be told yet: none of its questions is prepared")
    else:
        _hang(tree, found.top)
    out.print(tree)
    damaged = [station.fingerprint for station in found.stations() if station.state == "done" and station.wrong]
    if damaged:
        out.print(f"[red]damaged:[/red] {', '.join(damaged)}", soft_wrap=True)


def _print_ways_on(store: Store, cell: Spot, found: Walk, grader: str | None) -> None:
    """Commands that work by now.  Where its name cannot be typed, or does not say whose verdicts are meant, the cell is called
    by their fingerprint."""
    graded = found.top is not None and found.top.state == "done"
    plain = found.name.isprintable() and grader is None
    name = found.top.fingerprint if found.top and graded and not plain else shlex.quote(found.name)
    commands = {}
    if stage := next((one for one in [*found.stations(), found.row] if one.state == "done"), None):
        commands["one stage"] = f"show {stage.fingerprint}"
    if graded and found.top and not found.top.wrong:
        commands["its wrong answers"] = f"walk {name} --wrong"
        commands["one question, step by step"] = f"walk {name} --question ID"
    if all(map(store.has, cell.run.stages)):
        commands["make it again"] = f"reproduce {name}"
    for what, command in commands.items():
        say(f"{what}: {program()} {command}{at_store(store)}")


def cell_text(cell: Cell | None) -> str:
    """A cell in a line: right, out of how many, its interval, and who graded."""
    if cell is None:
        return "not finished, or damaged"
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
        return _text((station.what, "bold"), "  ", (f"{station.fingerprint}, as above", "dim"))
    if station.made is None:
        return _text((station.what, "bold"), f"  {station.fingerprint}  ", (station.state, "red"))
    made = station.made
    when = time.strftime("%F %T", time.localtime(made.started + made.seconds))
    code = f"commit {made.commit[:12]}" if made.commit else "from no git checkout"
    dirty = (" with uncommitted changes", "red") if made.dirty else ""
    return _text((station.what, "bold"), f"  {station.fingerprint}  ",
                 (f"{when} on {made.host or tables.HOLE} in {made.seconds:g} s, {code}", "dim"), dirty)


def _lines(station: Station) -> list[Text]:
    facts = [_text((f"{name}: ", "dim"), text) for name, text in station.facts.items() if text]
    wrong = [_text((f"damaged: {line}" if station.state == "done" else line, "red")) for line in station.wrong]
    files = ", ".join(f"{Path(path).relative_to(station.folder)} {size}" for path, size in station.files.items())
    return [*facts, *wrong, *([_text((f"{station.folder}: {files} bytes", "dim"))] if files else [])]


def _print_question(one: Answered) -> None:
    out, verdict = console(), one.verdict
    said = _text((one.question.id, "bold"), f"  sample {one.attempt.sample}  ", (WORDS[verdict.correct], "bold"),
                 f" by {verdict.by}", f": {verdict.reason}" if verdict.reason else "")
    golds = " or ".join(one.question.answers) or "none, so nothing can be graded"
    answer = tables.HOLE if one.attempt.answer is None else one.attempt.answer
    out.print(said, soft_wrap=True)
    for name, text in (("question", one.question.text), ("gold", golds), ("answer", answer),
                       ("ended", ": ".join(filter(None, [one.attempt.stop, one.attempt.reason]))),
                       ("passages", one.attempt.passages)):
        if text:
            out.print(_text((f"{name}: ", "dim"), text), soft_wrap=True)
    for number, step in enumerate(one.attempt.steps, 1):
        out.print(_text((f"--- step {number}: {step.status}\n", "dim"), step.text, "\n", (step.observation, "dim")),
                  soft_wrap=True)


def _print_list(name: str, some: list[Answered], of: int) -> None:
    say(f"{name}: {len(some)} of {of} attempts")
    for one in some:
        answer = tables.HOLE if one.attempt.answer is None else repr(one.attempt.answer)
        sample = f" sample {one.attempt.sample}" if one.attempt.sample else ""
        say(f"{WORDS[one.verdict.correct]}  {one.question.id}{sample}: {answer}, gold "
            f"{' or '.join(map(repr, one.question.answers)) or 'none'}; {one.verdict.reason}")
