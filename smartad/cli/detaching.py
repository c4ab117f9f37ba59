"""Hand a sweep's driver to SLURM as a job of its own, and leave."""

import argparse
import dataclasses
import os
import sys

from smartad.cli.acceptance import check_accepted
from smartad.cli.console import program
from smartad.cli.driving import check_data, check_judges, check_split, driven, is_copy
from smartad.cluster import ClusterConfig, Job, connect
from smartad.config import frozen, written
from smartad.experiment import Experiment
from smartad.redact import redact
from smartad.stage import upstream_first
from smartad.store import Store, explained
from smartad.sweep import ledger
from smartad.sweep.driver import Driver
from smartad.sweep.ledger import Start
from smartad.sweep.space import Sweep
from smartad.sweep.state import jobs_of
from smartad.types import UserError


def start_of(store: Store, file: str, profile: ClusterConfig, sweep: str) -> Start | None:
    """How a sweep is being started.  For the driver that was handed over, and reads copies: by the command that did so."""
    if is_copy(store, file) and ledger.path(store, sweep).exists():
        return ledger.load(store, sweep).start
    return Start(tuple(redact(sys.argv[1:])), os.getcwd(), profile.cluster)


def detach(args: argparse.Namespace, profile: ClusterConfig, job: Job, sweep: Sweep) -> int:
    """Submit the driver.  It reads copies of the sweep and the profile: what is edited after this is not in it."""
    from smartad.cluster.submission import Refused, submit_driver

    store = job.store
    if store.locked(f"sweeps/{sweep.name}"):
        raise UserError(driven(store, sweep.name))
    connect(profile, job)  # whatever the driver would stumble over in the queue is said now
    driver = Driver(sweep, store, dry_run=True)
    specs = upstream_first(driver.ask())
    check_data(specs, job.runtime)
    check_split(specs, profile)
    check_judges([spec for spec in specs if not store.has(spec.fingerprint)], profile)
    check_accepted(profile, args.cluster, store.root, {spec.stage.name for spec in specs if not store.has(spec.fingerprint)})
    if queued := jobs_of(store).drivers.get(sweep.name):
        raise UserError(f"a driver of sweep {sweep.name} is in the queue already, job {queued.id}; "
                        f"stop it: {program()} cancel {sweep.name}")
    folder = store.root / "sweeps" / sweep.name
    data = [f"data={job.runtime.data}"] if job.runtime.data else []
    texts = {"experiment.yaml": frozen(Experiment, [*sweep.sources, *data]),
             f"{sweep.name}.yaml": written(dataclasses.replace(sweep.config, base=["experiment.yaml"])),
             "profile.yaml": frozen(ClusterConfig, [args.cluster])}
    with explained(store.root):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    # Before its driver begins the sweep is known by its name, with what an earlier driver has left of it.
    known = ledger.path(store, sweep.name).exists()
    book = ledger.load(store, sweep.name) if known else ledger.Ledger(sweep.name, driver.declared, driver.groups, ())
    ledger.save(store, dataclasses.replace(book, start=start_of(store, args.file, profile, sweep.name)))
    words = ["sweep", str(folder / f"{sweep.name}.yaml"), "--cluster", str(folder / "profile.yaml"), "--store", str(store.root),
             *(["--track", args.track] if args.track else []), *(["--fail-fast"] if args.fail_fast else [])]
    try:
        id, log = submit_driver(job, sweep.name, words, profile.resources("driver"))
    except Refused as error:
        raise UserError(f"SLURM refuses the driver's job: {error}; its resources are `driver` and `default` in "
                        f"{args.cluster}") from error
    at = f"{sweep.name} --store {store.root}"
    print(f"sweep {sweep.name} is driven by SLURM job {id} now; you may log out. Its log: {log}\n"
          f"  {program()} status {at} --live\n  {program()} logs {at}\n  {program()} cancel {at}")
    return 0
