"""plan: what would run, what is there already, what it will cost, and how it would be submitted."""

import argparse
from collections import Counter
from collections.abc import Sequence

import yaml
from rich.table import Table as RichTable

from smartad.cli.acceptance import check_accepted
from smartad.cli.billing import bill_table
from smartad.cli.console import console
from smartad.cli.driving import check_judges, check_split
from smartad.cluster import STAGES, ClusterConfig, Job
from smartad.config import load, read_yaml
from smartad.experiment import Experiment, plan
from smartad.records import to_json
from smartad.stage import Runtime, StageSpec, upstream_first
from smartad.store import Store
from smartad.sweep.bill import estimate
from smartad.sweep.driver import Driver
from smartad.sweep.space import SweepConfig, read
from smartad.tracking import Tracking


def plan_command(args: argparse.Namespace) -> int:
    """Print what would run."""
    store = Store(args.store)
    profile = load(ClusterConfig, [args.cluster]) if args.cluster else None
    if args.sources and is_sweep(args.sources[0]):
        sweep = read(args.sources[0], args.sources[1:])
        driver = Driver(sweep, store, dry_run=True)
        driver.ask()
        some = "trials" if driver.dry else f"of {sweep.config.trials} trials: the first, the others depend on their scores"
        what, goals = f"sweep {sweep.name}, {len(driver.trials)} {some}", driver.goals()
        experiments = {trial.label: sweep.experiment(trial, sweep.config.seeds[0]) for trial in driver.trials.values()
                       if args.verbose}
    else:
        experiment = load(Experiment, args.sources)
        what, goals, experiments = "experiment", [plan(experiment).goal], {"experiment": experiment} if args.verbose else {}
    specs = upstream_first(goals)
    if experiments:
        _print_configs(experiments)
        _print_stages(store, specs)
    if profile:
        unfinished = [spec for spec in specs if not store.has(spec.fingerprint)]
        check_split(unfinished, profile)
        check_judges(unfinished, profile)
    _print_plan(what, store, goals)
    if lines := estimate(store, specs):
        console().print(bill_table(lines))
    if profile and profile.cluster == "slurm":
        missing = [spec for spec in specs if not store.has(spec.fingerprint)]
        _print_scripts(store, profile, missing)
        check_accepted(profile, args.cluster, store.root, {spec.stage.name for spec in missing})
    return 0


def is_sweep(source: str) -> bool:
    """Whether ``source`` is a file that declares a sweep."""
    if "=" in source:
        return False
    keys = set(read_yaml(source).keys())
    return bool(keys & set(SweepConfig.__dataclass_fields__)) or not keys & set(Experiment.__dataclass_fields__)


def _print_plan(what: str, store: Store, goals: Sequence[StageSpec]) -> None:
    specs = upstream_first(list(goals))
    users = Counter(s.fingerprint for goal in goals for s in goal.upstream_first())
    grid = RichTable()
    grid.add_column("stage")
    for column in ("to run", "done", "without sharing", "shared"):
        grid.add_column(column, justify="right")
    for name in sorted({s.stage.name for s in specs}, key=STAGES.index):
        mine = [s.fingerprint for s in specs if s.stage.name == name]
        done = sum(store.has(f) for f in mine)
        alone = sum(users[f] for f in mine)
        shared = f"{alone - len(mine)} saved" if alone > len(mine) else ""
        grid.add_row(name, str(len(mine) - done), str(done), str(alone), shared)
    console().print(f"{what}: {len(specs)} stages for {len(goals)} row(s)", soft_wrap=True)
    console().print(grid)


def _print_configs(experiments: dict[str, Experiment]) -> None:
    """Each trial's whole config, every default and reference filled in; of a sweep with its first seed."""
    for label, experiment in experiments.items():
        print(f"--- # {label}\n{yaml.safe_dump(to_json(experiment), sort_keys=False, allow_unicode=True)}")


def _print_stages(store: Store, specs: Sequence[StageSpec]) -> None:
    for spec in specs:
        print(f"{'done   ' if store.has(spec.fingerprint) else 'missing'}  {spec.fingerprint}")


def _print_scripts(store: Store, profile: ClusterConfig, missing: Sequence[StageSpec]) -> None:
    """The sbatch script of each kind of stage; what is decided on submission is in capitals (TAG, COMMIT)."""
    from smartad.cluster.code import PACKAGE
    from smartad.cluster.submission import script

    code = store.root / "code" / "COMMIT" if (PACKAGE.parent / ".git").exists() else None
    counts = Counter(spec.stage.name for spec in missing)
    for stage in (stage for stage in STAGES if counts[stage]):
        resources = profile.resources(stage)
        job = Job(store, Runtime(), Tracking(store.root), code)
        jobs = min(-(-counts[stage] // resources.pack), profile.max_array)
        print(f"\n# {counts[stage]} {stage} in jobs of {resources.pack}:\n{script(job, stage, resources, jobs)}")
