"""compare: rows against each other, question by question."""

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rich.markup import escape
from rich.table import Table as RichTable

from smartad import tables
from smartad.analysis import arms, compare
from smartad.analysis.arms import Arm, arm, benchmarks_of
from smartad.analysis.compare import Comparison, Line
from smartad.analysis.guard import Guarded, guard, guard_arms
from smartad.analysis.telling import graded, interval, names, of_table, over, p_text, points, told
from smartad.cli import flipping
from smartad.cli.console import console, say
from smartad.records import visible
from smartad.stats import MANY, Difference
from smartad.store import Store
from smartad.sweep import ledger, results
from smartad.sweep.ledger import Ledger
from smartad.types import UserError

HEADER = ("Benchmark", "n", "A", "B", "A - B", "95 % interval", "only A", "only B", "p", "Holm p")
CSV = ("a", "b", "seeds_a", "seeds_b", "benchmark", "n", "percent_a", "percent_b", "difference", "low", "high", "p", "test",
       "holm_p", "only_a", "only_b", "seeds_needed", "questions_needed", "ungraded", "unshared", "graded_by", "unlike", "note")
FEWEST = 1000
"""Draws of which the outermost 25 still make a limit."""


def compare_command(args: argparse.Namespace) -> int:
    """Two rows, or all rows of a sweep against one."""
    store = Store(args.store)
    form = args.format or ("terminal" if sys.stdout.isatty() else "md")
    if args.draws < FEWEST:
        raise UserError(f"--draws {args.draws}: the limits of a 95 % interval need at least {FEWEST}")
    if len(args.rows) == 1:
        if args.flips is not None or args.question:
            raise UserError(f"--flips and --question are of two rows; name the other one besides {args.rows[0]}")
        return _sweep(store, args, form)
    if len(args.rows) > 2:
        raise UserError(f"compare takes two rows, or a sweep alone, got {len(args.rows)}: {', '.join(args.rows)}")
    if args.baseline:
        raise UserError("--baseline says which row of a sweep the others are compared with; here are two rows already")
    a = arm(store, args.rows[0])
    b = arm(store, args.rows[1], near=a.book)
    if args.grader:
        results.check_grader(store, replace(a.book, name=f"{a.name} and {b.name}", trials=(a.trial, b.trial)), args.grader)
    if args.question:
        flipping.show_question(store, a, b, args.question, args.grader, args.shared)
    elif args.flips is not None:
        flipping.show_flips(store, a, b, args.flips or None, args.grader, args.shared, form)
    else:
        one = compare.compare(store, a, b, grader=args.grader, shared=args.shared, draws=args.draws)
        _pair(one, form, guard_arms(store, [a, b], args.grader))
    return 0


def _unlike(found: Guarded, one_sweep: bool = True) -> list[str]:
    """What the table guard says of these rows: a difference may be of what nobody declared."""
    return [f"Not made alike{', though nobody declared it' if one_sweep else ''}: {note}." for note in found.notes.values()]


def _pair(one: Comparison, form: str, found: Guarded) -> None:
    if form == "csv":
        _csv([one], found)
        return
    a, b = names(one)
    say(f"A: {a}  ({_seeds(one.a, one.seeds_a)})\nB: {b}  ({_seeds(one.b, one.seeds_b)})\n")
    _print(form, HEADER, [*map(_line, one.lines), _average(one)])
    print()
    if any(line.test == compare.BOOTSTRAP for line in one.lines):
        print("p: of the bootstrap over questions and seeds.  McNemar's exact test of each pair of runs: "
              f"{_mcnemar(one.lines) or 'not there, as questions were asked several times'}.\n")
    else:
        print("p of a benchmark: McNemar's exact test; of the average: of the bootstrap.\n")
    say("\n".join([*told(one), *_unlike(found, one.a.book.name == one.b.book.name), graded(one.lines)]))


def _line(line: Line) -> list[str]:
    return [line.benchmark, str(line.n), f"{line.a:.1f}", f"{line.b:.1f}", points(line.difference.points),
            interval(line.difference), "/".join(str(pair.only_a) for pair in line.pairs),
            "/".join(str(pair.only_b) for pair in line.pairs), p_text(line.p), p_text(line.holm)]


def _average(one: Comparison) -> list[str]:
    assert one.macro
    name = f"{tables.AVERAGE} of {len(one.lines)}" if one.missing else tables.AVERAGE
    return [name, str(sum(line.n for line in one.lines)), f"{one.average_a:.1f}", f"{one.average_b:.1f}",
            points(one.macro.points), interval(one.macro), "", "", p_text(one.macro.p), ""]


def _mcnemar(lines: Sequence[Line]) -> str:
    return "; ".join(f"{line.benchmark} {', '.join(p_text(pair.p) for pair in line.pairs)}" for line in lines if line.pairs)


def _seeds(of: Arm, seeds: Sequence[int]) -> str:
    if len(seeds) == 1 and len(of.trial.runs) > 1 and of.trial.runs[0].train is None:
        return "untrained: the same with every seed"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _sweep(store: Store, args: argparse.Namespace, form: str) -> int:
    """Every row against the baseline, the best first."""
    book = _book(store, args.rows[0])
    baseline = arms.baseline(store, book, args.baseline)
    if args.grader:
        results.check_grader(store, book, args.grader)
    found = compare.against(store, book, baseline, grader=args.grader, shared=args.shared, draws=args.draws)
    found.sort(key=lambda one: -one.macro.points if one.macro else float("inf"))
    alike = guard(store, book, results.rows(store, book, args.grader))
    if form == "csv":
        _csv(found, alike)
        return 0
    if not any(one.lines for one in found):
        raise UserError(f"no row of {book.name} can be compared with {baseline.label!r}: "
                        f"{'; '.join(dict.fromkeys(one.refused for one in found)) or 'it is the only one'}")
    columns = [name for name in benchmarks_of(book) if any(line.benchmark == name for one in found for line in one.lines)]
    header = ["Method", "Avg", "A - B", "95 % interval", "p", "Holm p"]
    lines = [_row(one, columns) for one in found if one.lines]
    wide = form == "terminal" and _width([*header, *columns], lines) + len([*header, *columns]) > console().width
    say(f"{book.name}: every row minus {baseline.label}, in points; "
        + ("benchmarks are shown on a wider terminal, and by --format csv\n" if wide else "behind a benchmark's, Holm's p\n"))
    _print(form, header if wide else [*header, *columns], [line[:len(header)] for line in lines] if wide else lines)
    say("\n".join(["", *of_table(found, baseline.label), *_odd(found),
                   *_unlike(alike), graded([line for one in found for line in one.lines])]))
    return 0


def _book(store: Store, word: str) -> Ledger:
    sweep, colon, label = word.partition(":")
    if not colon:
        return ledger.load(store, word)
    if not sweep or not label:
        raise UserError(f"{word!r} names no row, and no sweep: {arms.NAMING}; a sweep is compared by its name alone")
    raise UserError(f"{arm(store, word).name} is one row: name the other one, too, or the sweep {sweep} alone")


def _row(one: Comparison, columns: Sequence[str]) -> list[str]:
    of = {line.benchmark: f"{points(line.difference.points)} ({p_text(line.holm)})" for line in one.lines}
    whole = [f"{one.average_a:.1f}", points(one.macro.points), interval(one.macro), p_text(one.macro.p),
             p_text(one.holm)] if one.macro else [tables.HOLE] * 5
    return [visible(one.a.trial.label), *whole, *(of.get(name, tables.HOLE) for name in columns)]


def _odd(found: Iterable[Comparison]) -> list[str]:
    """What is not compared, and why."""
    said = []
    for one in found:
        ungraded = sum(len(line.ungraded) for line in one.lines)
        why = [one.refused] if one.refused else [*dict.fromkeys(one.missing.values()),
                                                 *([f"{ungraded} questions left out without a verdict"] if ungraded else [])]
        if why:
            hole = "no average, as " if one.lines and not one.macro else ""
            said.append(f"{one.a.trial.label}: {hole}{'; '.join(why)}.")
    return said


def _print(form: str, header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    if form == "md":
        print(tables.plain_markdown(header, lines), end="")
        return
    screen = console()
    boxed = _width(header, lines) + 3 * len(header) + 1 <= screen.width
    grid = RichTable() if boxed else RichTable(box=None, padding=(0, 1, 0, 0))
    for number, column in enumerate(header):
        grid.add_column(escape(column), justify="right" if number else "left", overflow="fold")
    for line in lines:
        grid.add_row(*map(escape, line))
    screen.print(grid)


def _width(header: Sequence[str], lines: Sequence[Sequence[str]]) -> int:
    """Of a table without what is between its columns."""
    return sum(max(map(len, column)) for column in zip(header, *lines, strict=True))


def _csv(found: Iterable[Comparison], alike: Guarded) -> None:
    """A line for each benchmark and one for the average, numbers in full."""
    unlike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for part in alike.differences:
        unlike[part.label, part.benchmark].append(f"{part.label}: {part.text}")
    writer = csv.DictWriter(sys.stdout, CSV, restval="", lineterminator="\n")
    writer.writeheader()
    for one in found:
        head = {"a": one.a.name, "b": one.b.name, "seeds_a": _joined(one.seeds_a), "seeds_b": _joined(one.seeds_b)}
        for line in one.lines:
            writer.writerow(head | _fields(line.difference) | {
                "benchmark": line.benchmark, "n": line.n, "percent_a": f"{line.a:.4f}", "percent_b": f"{line.b:.4f}",
                "p": f"{line.p:.3g}", "test": line.test, "holm_p": f"{line.holm:.3g}", "unshared": line.unshared,
                "only_a": _joined(pair.only_a for pair in line.pairs), "only_b": _joined(pair.only_b for pair in line.pairs),
                "ungraded": len(line.ungraded), "graded_by": line.grader, "unlike": "; ".join(dict.fromkeys(
                    text for name in names(one) for text in unlike[name, line.benchmark]))})
        if one.macro:
            writer.writerow(head | _fields(one.macro) | {
                "benchmark": tables.AVERAGE, "n": sum(line.n for line in one.lines), "percent_a": f"{one.average_a:.4f}",
                "percent_b": f"{one.average_b:.4f}", "p": f"{one.macro.p:.3g}", "test": compare.BOOTSTRAP,
                "holm_p": f"{one.holm:.3g}",
                "note": "; ".join(filter(None, [_fields(one.macro)["note"], *over(one)]))})
        for name, why in ({"": one.refused} if one.refused else one.missing).items():
            writer.writerow(head | {"benchmark": name, "note": why})


def _fields(difference: Difference) -> dict[str, str]:
    questions = difference.questions
    return {"difference": f"{difference.points:.4f}", "low": f"{difference.low:.4f}", "high": f"{difference.high:.4f}",
            "seeds_needed": "" if difference.seeds is None else f">{MANY}" if difference.seeds > MANY else str(difference.seeds),
            "questions_needed": "" if questions is None else f"{questions:.3g}",
            "note": "one seed: of these very adapters" if difference.lone else ""}


def _joined(values: Iterable[int]) -> str:
    return " ".join(map(str, values))
