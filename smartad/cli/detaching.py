"""Hand a sweep's driver to SLURM as a job of its own, and leave."""

import argparse

from smartad.cli.console import program
from smartad.cli.driving import driven
from smartad.cluster import ClusterConfig, Job
from smartad.config import frozen
from smartad.experiment import Experiment
from smartad.store import explained
from smartad.sweep.space import Sweep, SweepConfig
from smartad.types import UserError


def detach(args: argparse.Namespace, profile: ClusterConfig, job: Job, sweep: Sweep) -> int:
    """Submit the driver.  It reads copies of the sweep and the profile: what is edited after this is not in it."""
    from smartad.cluster.submission import submit_driver

    store = job.store
    if store.locked(f"sweeps/{sweep.name}"):
        raise UserError(driven(store, sweep.name))
    folder = store.root / "sweeps" / sweep.name
    data = [f"data={job.runtime.data}"] if job.runtime.data else []
    texts = {"experiment.yaml": frozen(Experiment, [*sweep.sources, *data]),
             f"{sweep.name}.yaml": frozen(SweepConfig, [args.file, "base=[experiment.yaml]"]),
             "profile.yaml": frozen(ClusterConfig, [args.cluster])}
    with explained(store.root):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    words = ["sweep", str(folder / f"{sweep.name}.yaml"), "--cluster", str(folder / "profile.yaml"), "--store", str(store.root),
             *(["--track", args.track] if args.track else []), *(["--fail-fast"] if args.fail_fast else [])]
    id, log = submit_driver(job, sweep.name, words, profile.resources("driver"))
    at = f"{sweep.name} --store {store.root}"
    print(f"sweep {sweep.name} is driven by SLURM job {id} now; you may log out. Its log: {log}\n"
          f"  {program()} status {at} --live\n  {program()} logs {at}\n  {program()} cancel {at}")
    return 0
