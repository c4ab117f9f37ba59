"""gc, forget: what the store keeps, and what it lets go of."""

import argparse
from collections import Counter
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table as RichTable

from smartad.cli.console import at_store, console, program
from smartad.store import Store
from smartad.sweep import forgetting, garbage, ledger
from smartad.sweep.garbage import Garbage
from smartad.sweep.state import jobs_of
from smartad.types import UserError

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def gc_command(args: argparse.Namespace) -> int:
    """Remove what nothing cites, or say what that is."""
    store = Store(args.store)
    store.id()  # a folder that is no store is not cleared up
    if args.yes:
        removed = []
        for item in garbage.clear(store):
            removed.append(item)
            print(f"removed {item.path.relative_to(store.root)}  {readable(item.size)}  {item.why}")
        print(f"{_sum(removed)} removed")
        return 0
    jobs = jobs_of(store)
    found = garbage.find(store, jobs)
    if not found:
        print(f"nothing in {store.root} could go: a table or an alias cites everything in it, or somebody is at it")
        return 0
    grid = RichTable("what")
    grid.add_column("size", justify="right", no_wrap=True)
    grid.add_column("why")
    for item in found:
        grid.add_row(escape(str(item.path.relative_to(store.root))), readable(item.size), escape(item.why))
    console().print(grid)
    print(f"{_sum(found)} could go; `{program()} gc --yes{at_store(store)}` removes it")
    for obstacle in garbage.in_the_way(store, jobs):
        print(f"not now: {obstacle}")
    return 0


def _sum(items: Sequence[Garbage]) -> str:
    """``12 stages, 1 job: 34.5 MB``."""
    counts = Counter(item.kind for item in items)
    parts = [f"{count} {kind}{'s' if count > 1 and kind != 'code' else ''}" for kind, count in counts.items()]
    return f"{', '.join(parts) or 'nothing'}: {readable(sum(item.size for item in items))}"


def readable(size: int) -> str:
    """``34.5 MB``."""
    value, unit = float(size), 0
    while value >= 1000 and unit + 1 < len(UNITS):
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {UNITS[unit]}" if unit else f"{size} {UNITS[0]}"


def _forget_grade(store: Store, name: str, yes: bool) -> int:
    found = forgetting.foreseen_grade(store, name)
    if yes:
        print(f"removed: {', '.join(forgetting.forget_grade(store, name))}\nthe command that made it makes it again; a judge is "
              "asked only for what it did not say")
    else:
        print(f"would be removed: {', '.join(found)}\n`{program()} forget {found[-1]} --yes{at_store(store)}` does it, so that "
              "it is graded again")
    return 0


def forget_command(args: argparse.Namespace) -> int:
    """Let go of a sweep or of a grade, or say what that would mean."""
    store = Store(args.store)
    if args.sweep.startswith("grade-") and not ledger.candidates(store, args.sweep):
        return _forget_grade(store, args.sweep, args.yes)
    if args.yes and args.sweep not in ledger.names(store):
        raise UserError(f"forget --yes takes a sweep's whole name, and there is no {args.sweep!r} in {store.root}; "
                        f"there are {', '.join(ledger.names(store)) or 'none'}")
    found = (forgetting.forget if args.yes else forgetting.foreseen)(store, args.sweep)
    aliases = f", its aliases {', '.join(found.aliases)}" if found.aliases else ""
    freed = (f"{len(found.freed)} stages, {readable(found.size)}, are cited by nothing else: `{program()} gc{at_store(store)}` "
             "says what would go" if found.freed else "all its stages are cited by something else, and stay")
    if args.yes:
        print(f"forgotten: the table of {found.name} ({found.trials} rows){aliases}\n{freed}")
    else:
        print(f"would be forgotten: the table of {found.name} ({found.trials} rows){aliases}\n"
              f"then {freed}\n`{program()} forget {found.name} --yes{at_store(store)}` does it")
    return 0
