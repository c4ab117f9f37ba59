"""run, sweep: have what is missing run."""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from smartad import tables
from smartad.cli import INTERRUPTED
from smartad.cli.console import Watch, print_table, program
from smartad.cli.planning import is_sweep, plan_command
from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.config import load, read_yaml
from smartad.experiment import Experiment, Plan, missing_data, plan
from smartad.stage import Runtime, StageSpec
from smartad.store import LOG, Store
from smartad.sweep import ledger, results
from smartad.sweep.driver import Driver, drive, start
from smartad.sweep.space import Sweep, corners, read
from smartad.tracking import Tracking, configure
from smartad.types import UserError


def run_command(args: argparse.Namespace) -> int:
    """Run one experiment and print its row."""
    for source in args.sources:
        if is_sweep(source):
            raise UserError(f"{source} declares a sweep: smartad sweep {source}")
    experiment = load(Experiment, args.sources)
    planned = plan(experiment)
    goals = _until(planned, args.until) if args.until else [planned.goal]
    store = Store(args.store).open()
    status = _run(args, store, _tracking(args, store, None), experiment.data, planned.models,
                  lambda dispatcher: dispatcher.add(goals))
    if store.has(planned.goal.fingerprint):
        groups = {"In-domain": experiment.benchmarks.in_domain, "Out-of-domain": experiment.benchmarks.out_of_domain}
        print_table(tables.build("experiment", groups, {"this run": [results.cells(store, planned.goal.fingerprint)]}))
        print(f"row {planned.goal.fingerprint}"
              + (f"\nadapter {planned.train.fingerprint}   smartad pull {planned.train.fingerprint} --to DIR"
                 if planned.train else ""))
    return status


def sweep_command(args: argparse.Namespace) -> int:
    """Run a sweep, print its table, put its best adapter into the registry."""
    read_yaml(args.file)
    if not is_sweep(args.file):
        raise UserError(f"{args.file} declares an experiment: smartad run {args.file}")
    sweep = read(args.file, args.overrides)
    if args.dry_run:
        return plan_command(argparse.Namespace(**{**vars(args), "sources": [args.file, *args.overrides]}))
    store = Store(args.store).open()
    driver = Driver(sweep, store)
    some = [sweep.experiment(trial, sweep.config.seeds[0]) for trial in corners(sweep.config)]
    folders = {identity: folder for experiment in some for identity, folder in plan(experiment).models.items()}
    tracking = _tracking(args, store, sweep.name)
    status = _run(args, store, tracking, some[0].data, folders, driver)
    if status == INTERRUPTED:
        return status
    book = ledger.load(store, sweep.name)
    print_table(results.table(store, book))
    promoted = results.promote_best(store, book)
    _print_next(args, store, tracking, sweep, promoted)
    return status


def _run(args: argparse.Namespace, store: Store, tracking: Tracking, data: str | None, models: dict[str, str],
         work: Driver | Callable[[Dispatcher], None]) -> int:
    """Bring a driver's sweep or some goals to their end.  The exit status."""
    profile = load(ClusterConfig, [args.cluster] if args.cluster else [])
    runtime = Runtime(data=Path(data).absolute() if data else None, models=models)
    executor = connect(profile, Job(store, runtime, tracking), args.jobs)
    dispatcher = Dispatcher(store, executor)
    try:
        if isinstance(work, Driver):
            start(work, dispatcher)
        else:
            work(dispatcher)
        _check_data(dispatcher, runtime.data)
        with Watch(dispatcher, work.owners if isinstance(work, Driver) else dict) as watch:
            if isinstance(work, Driver):
                drive(work, dispatcher, watch)
            else:
                while dispatcher.open():
                    dispatcher.step()
                    watch()
    except KeyboardInterrupt:
        executor.close()
        done = sum(store.has(f) for f in dispatcher.specs)
        print(f"\nsmartad: stopped. {done} of {len(dispatcher.specs)} stages are finished and kept; what was under way "
              f"is carried on by\n  {_again()}", file=sys.stderr)
        return INTERRUPTED
    finally:
        executor.close()
    return _report_failures(dispatcher)


def _check_data(dispatcher: Dispatcher, data: Path | None) -> None:
    """Fail at the desk: a file that is not there is named before anything runs."""
    waiting = [spec for f, spec in dispatcher.specs.items() if dispatcher.states[f] != "done"]
    if missing := missing_data(waiting, data):
        where = f"not in {data}" if data else "needed"
        raise UserError(f"{', '.join(missing)}: {where}; say which folder holds them with data=FOLDER")


def _again() -> str:
    return f"{program()} {shlex.join(sys.argv[1:])}"


def _report_failures(dispatcher: Dispatcher) -> int:
    if not dispatcher.failures:
        return 0
    blocked = sum(state == "blocked" for state in dispatcher.states.values())
    print(f"\nsmartad: {len(dispatcher.failures)} stage(s) failed, {blocked} more wait for them:", file=sys.stderr)
    for fingerprint, failure in dispatcher.failures.items():
        print(f"  {fingerprint} ({failure.kind}): {failure.message}", file=sys.stderr)
        if (log := dispatcher.store.folder(fingerprint) / LOG).exists():
            print(f"    log {log}", file=sys.stderr)
    print(f"Mend the cause and run it again; what is finished is kept:\n  {_again()}", file=sys.stderr)
    return 1


def _until(planned: Plan, stage: str) -> list[StageSpec]:
    specs = planned.goal.upstream_first()
    names = list(dict.fromkeys(spec.stage.name for spec in specs))
    if stage not in names:
        raise UserError(f"--until {stage!r}: the stages are {', '.join(names)}")
    return [spec for spec in specs if spec.stage.name == stage]


def _tracking(args: argparse.Namespace, store: Store, group: str | None) -> Tracking:
    return configure(args.track.split(",") if args.track else None, store.root, group)


def _print_next(args: argparse.Namespace, store: Store, tracking: Tracking, sweep: Sweep,
                promoted: tuple[ledger.LedgerTrial, ledger.Run] | None) -> None:
    me = program()
    at = "" if args.store == Path("runs") else f" --store {shlex.quote(str(args.store))}"
    if promoted:
        trial, run = promoted
        print(f"best by {sweep.config.metric}: {trial.label} (seed {run.seed}), {run.train}\n")
    commands = {f"{me} table {sweep.name} --format md{at}": "the table for a paper or an issue (also tex, csv)",
                f"{me} status {sweep.name}{at}": "every trial and stage"}
    if promoted:
        question = shlex.quote(results.some_question(store, promoted[1]))
        commands |= {f"{me} show {promoted[1].train}{at}": "one stage: config, inputs, metrics, files",
                     f"{me} pull best --sweep {sweep.name} --to best-adapter{at}": "the best adapter, checksums verified",
                     f"{me} ask --adapter best-adapter {question}": "its agent at work, step by step"}
    commands |= dict.fromkeys(tracking.where(), "curves and scores in the browser")
    print("Where to look next:")
    for command, what in commands.items():
        print(f"  {command}\n      {what}")
