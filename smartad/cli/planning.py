"""plan: what would run, and what is there already."""

import argparse
from collections import Counter
from collections.abc import Sequence

from rich.table import Table as RichTable

from smartad.cli.console import console
from smartad.cluster import STAGES
from smartad.config import load, read_yaml
from smartad.experiment import Experiment, plan
from smartad.stage import StageSpec, upstream_first
from smartad.store import Store
from smartad.sweep.driver import Driver
from smartad.sweep.space import SweepConfig, read


def plan_command(args: argparse.Namespace) -> int:
    """Print what would run."""
    store = Store(args.store)
    if args.sources and is_sweep(args.sources[0]):
        sweep = read(args.sources[0], args.sources[1:])
        driver = Driver(sweep, store, dry_run=True)
        driver.ask()
        some = "trials" if driver.dry else f"of {sweep.config.trials} trials: the first, the others depend on their scores"
        _print_plan(f"sweep {sweep.name}, {len(driver.trials)} {some}", store, driver.goals(), args.verbose)
    else:
        _print_plan("experiment", store, [plan(load(Experiment, args.sources)).goal], args.verbose)
    return 0


def is_sweep(source: str) -> bool:
    """Whether ``source`` is a file that declares a sweep."""
    if "=" in source:
        return False
    keys = set(read_yaml(source).keys())
    return bool(keys & set(SweepConfig.__dataclass_fields__)) or not keys & set(Experiment.__dataclass_fields__)


def _print_plan(what: str, store: Store, goals: Sequence[StageSpec], verbose: bool) -> None:
    specs = upstream_first(list(goals))
    users = Counter(s.fingerprint for goal in goals for s in goal.upstream_first())
    title = f"{what}: {len(specs)} stages for {len(goals)} row(s)"
    grid = RichTable(title=title, title_justify="left", title_style="")
    grid.add_column("stage")
    for column in ("to run", "done", "without sharing", "shared"):
        grid.add_column(column, justify="right")
    for name in sorted({s.stage.name for s in specs}, key=STAGES.index):
        mine = [s.fingerprint for s in specs if s.stage.name == name]
        done = sum(store.has(f) for f in mine)
        alone = sum(users[f] for f in mine)
        shared = f"{alone - len(mine)} saved" if alone > len(mine) else ""
        grid.add_row(name, str(len(mine) - done), str(done), str(alone), shared)
    console().print(grid)
    if verbose:
        for spec in specs:
            print(f"{'done   ' if store.has(spec.fingerprint) else 'missing'}  {spec.fingerprint}")
