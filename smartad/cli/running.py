"""run, sweep: have what is missing run."""

import argparse
import dataclasses
import os
import shlex
import sys
import uuid
from pathlib import Path

from smartad import tables
from smartad.analysis.guard import guard, guarded
from smartad.cli import INTERRUPTED
from smartad.cli.billing import print_bill
from smartad.cli.console import at_store, program, say
from smartad.cli.detaching import detach, start_of
from smartad.cli.driving import bring_to_end, driven, job_of, profile_of
from smartad.cli.planning import is_sweep, plan_command
from smartad.cli.pool import print_pool
from smartad.cli.publishing import publish_at_end
from smartad.cli.tabling import print_table
from smartad.cluster import ClusterConfig
from smartad.config import load, read_yaml
from smartad.experiment import Experiment, Plan, plan
from smartad.redact import redact
from smartad.stage import StageSpec
from smartad.store import Store
from smartad.sweep import ledger, results
from smartad.sweep.driver import Driver
from smartad.sweep.garbage import RUNS
from smartad.sweep.ledger import Ledger, LedgerTrial, Start
from smartad.sweep.space import Sweep, SweepConfig, corners, most, read
from smartad.tracking import Tracking, wandb_server
from smartad.types import UserError


def run_command(args: argparse.Namespace) -> int:
    """Run one experiment and print its row."""
    for source in args.sources:
        if is_sweep(source):
            raise UserError(f"{source} declares a sweep: smartad sweep {source}")
    experiment = load(Experiment, args.sources)
    planned = plan(experiment)
    goals = until(planned, args.until) if args.until else [planned.goal]
    store = Store(args.store).open()
    profile = profile_of(args)
    job = job_of(args, profile, store, None, experiment.data, planned.models, planned.files)
    name = f"run-{planned.goal.fingerprint.rpartition('-')[2]}"
    groups = {"In-domain": list(experiment.benchmarks.in_domain), "Out-of-domain": list(experiment.benchmarks.out_of_domain)}
    only = LedgerTrial("this run", {}, (ledger.run_of(experiment.seed, planned.goal, planned.train),))
    # A table cites what it needs, so that `smartad gc` keeps it.
    start = Start(tuple(redact(sys.argv[1:])), os.getcwd(), profile.cluster)
    ledger.save(store, Ledger(name, dataclasses.asdict(SweepConfig(arms={"this run": {}})), groups, (only,), start=start))
    with store.lock(f"{RUNS}/run-{uuid.uuid4().hex[:8]}"):
        status = bring_to_end(args, profile, job, goals)
    if experiment.pool and status == 0:
        _print_pool(store, planned)
    if store.has(planned.goal.fingerprint):
        print_table(tables.build("experiment", groups, {"this run": [results.cells(store, planned.goal.fingerprint)]}))
        print(f"row {planned.goal.fingerprint}, kept as {name} until `{program()} forget {name} --yes{at_store(store)}`"
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
    profile = profile_of(args)
    store = Store(args.store).open()
    some = [sweep.experiment(trial, sweep.config.seeds[0]) for trial in corners(sweep.config)]
    plans = [plan(experiment) for experiment in some]
    folders = {identity: folder for planned in plans for identity, folder in planned.models.items()}
    files = {sha256: path for planned in plans for sha256, path in planned.files.items()}
    job = job_of(args, profile, store, sweep.name, some[0].data, folders, files)
    if args.detach:
        return detach(args, profile, job, sweep)
    start = start_of(store, args.file, profile, sweep.name)
    with store.lock(f"sweeps/{sweep.name}") as claim:
        if claim is None:
            raise UserError(driven(store, sweep.name))
        _print_start(args, store, profile, sweep)
        status = bring_to_end(args, profile, job, Driver(sweep, store, start=start), claim)
        if status == INTERRUPTED:
            return status
        book = ledger.load(store, sweep.name)
        promoted = results.promote_best(store, book)
    print_table(guarded(results.table(store, book), guard(store, book)))
    if sweep.config.backend != "grid":
        _print_importances(store, book)
    print_bill(store, book)
    publish_at_end(store, book, job.tracking.names)
    _print_next(args, store, job.tracking, sweep, promoted)
    return status


def _print_start(args: argparse.Namespace, store: Store, profile: ClusterConfig, sweep: Sweep) -> None:
    """What the sweep is called from now on, how large it is, and where it is kept and run."""
    config, count = sweep.config, most(dataclasses.asdict(sweep.config))
    how_many = f"{count} trial{'s' if count > 1 else ''}" if count else "as many trials as its proposer wants"
    what = how_many if config.backend == "grid" else f"a search of {how_many} by {config.backend}"
    seeds = f" x {len(config.seeds)} seeds" if len(config.seeds) > 1 else ""
    places = {"workers": "in worker processes here", "local": f"as jobs of {args.cluster} on this machine",
              "slurm": f"as SLURM jobs of {args.cluster}"}
    where = "in this process" if args.jobs == 0 else places[profile.cluster]
    print(f"sweep {sweep.name}: {what}{seeds}, {where}; store {store.root}", file=sys.stderr)


def _print_importances(store: Store, book: ledger.Ledger) -> None:
    from smartad.sweep.importances import LEAST, importances

    if found := importances(store, book):
        print("what the scores depend on (PED-ANOVA): " + ", ".join(f"{key} {share:.0%}" for key, share in found.items()))
    else:
        print(f"what the scores depend on is said from {LEAST} finished trials on, where it can be told")


def _print_pool(store: Store, planned: Plan) -> None:
    """What an imported pool holds, as far as its stages are finished."""
    made = planned.train.upstream_first() if planned.train else []
    if finished := [spec.fingerprint for spec in made if store.has(spec.fingerprint)]:
        print_pool(store, finished[-1])


def until(planned: Plan, stage: str) -> list[StageSpec]:
    """The stages of that name, before the training where there are some before it.  Raises UserError for another name."""
    specs = planned.goal.upstream_first()
    names = list(dict.fromkeys(spec.stage.name for spec in specs))
    if stage not in names:
        raise UserError(f"--until {stage!r}: the stages are {', '.join(names)}")
    meant = [spec for spec in specs if spec.stage.name == stage]
    # The pool is graded, and so are the adapter's attempts: whoever stops after grading has not trained.
    before = [spec for spec in meant if planned.train not in spec.upstream_first()] if planned.train else []
    return before or meant


def _print_next(args: argparse.Namespace, store: Store, tracking: Tracking, sweep: Sweep,
                promoted: tuple[ledger.LedgerTrial, ledger.Run] | None) -> None:
    me = program()
    at = "" if args.store == Path("runs") else f" --store {shlex.quote(str(args.store))}"
    if promoted:
        trial, run = promoted
        say(f"best by {sweep.config.metric}: {trial.label} (seed {run.seed}), {run.train}\n")
    commands = {f"{me} table {sweep.name} --format md{at}": "the table for a paper or an issue (also tex, csv)",
                f"{me} status {sweep.name}{at}": "every trial and stage"}
    if promoted:
        question = shlex.quote(results.some_question(store, promoted[1]))
        commands |= {f"{me} show {promoted[1].train}{at}": "one stage: config, inputs, metrics, files",
                     f"{me} pull best --sweep {sweep.name} --to best-adapter{at}": "the best adapter, checksums verified",
                     f"{me} ask --adapter best-adapter {question}": "its agent at work, step by step"}
    commands |= dict.fromkeys(tracking.where(), "curves and scores in the browser")
    if "wandb" in tracking.names and wandb_server.mode() == "offline":
        commands[f"{me} publish {sweep.name} --to wandb{at}"] = "lineage, aliases and the summary, once W&B can be reached"
    print("Where to look next:")
    for command, what in commands.items():
        print(f"  {command}\n      {what}")
