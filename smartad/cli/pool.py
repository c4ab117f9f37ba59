"""pool, import: what a pool holds, and what files would give."""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table as RichTable

from smartad import importers
from smartad.cli.console import console, format_metric
from smartad.stage import Metrics
from smartad.stages.importing import PoolConfig, Source, gather, identified, totals, write
from smartad.store import Store
from smartad.sweep.pools import PoolSummary, summarise
from smartad.tables import HOLE
from smartad.types import Quarantined, UserError

SHOWN = 12
"""Reasons for quarantine that are printed; the file has all of them."""


def pool_command(args: argparse.Namespace) -> int:
    """One pool."""
    store = Store(args.store)
    print_pool(store, store.find(args.fingerprint))
    return 0


def import_command(args: argparse.Namespace) -> int:
    """Read files as a format, say what is in them, and with --to write it."""
    refuse = args.refuse.split(",") if args.refuse else []
    if args.to and args.to.exists() and (not args.to.is_dir() or any(args.to.iterdir())):
        raise UserError(f"{args.to} is {'not empty' if args.to.is_dir() else 'a file'}; name a new folder with --to")
    if missing := [file for file in args.files if not any(Path(p).is_file() for p in (file, file.rpartition("@")[0]))]:
        raise UserError(f"no file {', '.join(missing)}")
    sources = [Source([file], name) for file, name in _names(args.files).items()]
    config = PoolConfig(args.format, sources, args.name, refuse=refuse)
    pinned, places = identified(config, None, None)
    pool = gather(pinned, {file: Path(places[file.sha256]) for teacher in pinned.teachers for file in teacher.files})
    console().print(_numbers("what is in the files", totals(pool)))
    if pool.quarantine:
        _print_quarantine(pool.quarantine)
    _print_marks(args.format, Counter(mark for origin in pool.origins for mark in origin.marks), len(pool.trajectories))
    if args.to:
        args.to.mkdir(parents=True, exist_ok=True)
        write(pool, args.to)
        print(f"written to {args.to}: questions.jsonl, trajectories.jsonl, origins.jsonl, quarantine.jsonl")
    if not pool.trajectories:
        console().print("none of their rows is a trajectory")
    return 0 if pool.trajectories else 1


def _names(files: Sequence[str]) -> dict[str, str]:
    """A teacher for each file: its name, with as much of its folder's as tells them apart."""
    stems = Counter(Path(file).stem for file in files)
    return {file: Path(file).stem if stems[Path(file).stem] == 1 else Path(file).with_suffix("").as_posix() for file in files}


def print_pool(store: Store, fingerprint: str) -> None:
    """The summary of the pool that a stage is or was made from."""
    found = summarise(store, fingerprint)
    out = console()
    made = found.metrics.get("import", {})
    quarantined = f"; {made['quarantined']} of {made['rows']} rows in quarantine" if made else ""
    out.print(f"\npool {found.fingerprints.get('import') or found.fingerprints['collect']}: {found.trajectories} trajectories of "
              f"{found.questions} questions{quarantined}", soft_wrap=True)
    out.print(_teachers(found))
    if found.coverage:
        out.print(_coverage(found))
    _print_grading(found)
    if "import" in found.fingerprints:
        form = store.record(found.fingerprints["import"])["identity"]["config"]["format"]
        _print_marks(form, _below("marks/", made), found.trajectories)
    if found.cases:
        out.print("\nedge cases of the dialect, in trajectories of the pool\n" + _lines(found.cases, found.trajectories),
                  soft_wrap=True)
    _print_chosen(found)
    if made.get("quarantined"):
        out.print(f"\nwhat is in quarantine, line by line: {store.folder(found.fingerprints['import']) / 'quarantine.jsonl'}",
                  soft_wrap=True)


def _teachers(found: PoolSummary) -> RichTable:
    grid = _grid("teacher", "sample", "n", "answered", "right", "%", "ungraded", "said to be right")
    for teacher in found.teachers:
        graded = teacher.n - (teacher.ungraded or 0)
        share = f"{100 * teacher.right / graded:.1f}" if teacher.right is not None and graded else HOLE
        grid.add_row(escape(teacher.name), str(teacher.sample), str(teacher.n), str(teacher.answered), _number(teacher.right),
                     share, _number(teacher.ungraded), _number(teacher.claimed))
    return grid


def _coverage(found: PoolSummary) -> RichTable:
    grid = _grid("questions with, among the first K samples", *(f"K={cover.k}" for cover in found.coverage))
    grid.add_row("a right trajectory", *(str(cover.one) for cover in found.coverage))
    grid.add_row("two or more", *(str(cover.two) for cover in found.coverage))
    return grid


def _print_grading(found: PoolSummary) -> None:
    if found.agreement:
        a = found.agreement
        console().print(f"\ngrader and makers: both say right {a.both_right}, both wrong {a.both_wrong}, only the grader says "
                        f"right {a.only_ours}, only the makers {a.only_theirs}, ungraded {a.ungraded}", soft_wrap=True)
    if found.told:
        console().print(f"told that an earlier answer was wrong: {found.told[0]} trajectories, {found.told[1]} of them right in "
                        "the end", soft_wrap=True)


def _print_marks(form: str, marks: Mapping[str, int], of: int) -> None:
    if marks:
        said = _lines(marks, of, importers.get(form).MARKS)
        console().print(f"\nmarks; pool.refuse=[{next(iter(marks))}] puts such trajectories into quarantine\n{said}",
                        soft_wrap=True, markup=False)


def _print_chosen(found: PoolSummary) -> None:
    if select := found.metrics.get("select"):
        console().print(_numbers("\nselect", {name: value for name, value in select.items() if value != 0}))
    if found.segments:
        train = found.metrics["train"]
        said = ", ".join(f"{name} {tokens:.1f}" for name, tokens in found.segments.items())
        console().print(f"\ntokens in each of the {train['examples']} trajectories that were trained on, on average: {said}",
                        soft_wrap=True)
        if cases := ", ".join(f"{name} {count}" for name, count in _below("cases/", train).items() if count):
            console().print(f"edge cases in them: {cases}", soft_wrap=True)


def _print_quarantine(rows: Sequence[Quarantined]) -> None:
    """Why, how often, and where first; what is wrong with many rows is said once."""
    places: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        places.setdefault((row.kind, row.reason), []).append(f"{row.file}:{row.line}")
    grid = _grid("in quarantine", "rows", "first", "reason", right=(1,))
    often = sorted(places.items(), key=lambda item: -len(item[1]))
    for (kind, reason), found in often[:SHOWN]:
        grid.add_row(kind, str(len(found)), escape(found[0]), escape(reason[:200]))
    console().print(grid)
    if len(often) > SHOWN:
        console().print(f"and {sum(len(found) for _, found in often[SHOWN:])} more rows; --to DIR writes all to quarantine.jsonl")


def _lines(counts: Mapping[str, int], of: int, meanings: Mapping[str, str] | None = None) -> str:
    width = max(len(name) for name in counts)
    return "\n".join(f"  {name:<{width}}  {count:5d}  {100 * count / of:3.0f} %  {(meanings or {}).get(name, '')}".rstrip()
                     for name, count in sorted(counts.items(), key=lambda item: -item[1]) if count)


def _below(prefix: str, metrics: Metrics) -> dict[str, int]:
    """The counts whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): int(count or 0) for name, count in metrics.items() if name.startswith(prefix)}


def _numbers(title: str, metrics: Metrics) -> RichTable:
    grid = _grid(title, "")
    for name, value in metrics.items():
        grid.add_row(name, format_metric(value))
    return grid


def _number(value: int | None) -> str:
    return HOLE if value is None else str(value)


def _grid(*columns: str, right: Iterable[int] | None = None) -> RichTable:
    grid = RichTable(box=None, padding=(0, 1, 0, 0), header_style="bold")
    numbers = range(1, len(columns)) if right is None else right
    for i, column in enumerate(columns):
        grid.add_column(column, justify="right" if i in numbers else "left")
    return grid
