"""Hundreds of jobs in one array on the SLURM that is configured here: how long a job takes, whether one is lost or run twice.

  python benchmarks/slurm_arrays.py [--jobs 500] [--partition batch]

The jobs are the trainings of as many trials, with a body that does nothing, one to a job; before them run the few stages they
share.  The store is made in the current folder, which the nodes must see.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import trivial
from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.cluster.submission import submissions
from smartad.experiment import plan
from smartad.stage import Runtime, StageSpec
from smartad.store import Store
from smartad.sweep import proposers
from smartad.sweep.space import read
from smartad.tracking import Tracking


def trainings(folder: Path, count: int) -> list[StageSpec]:
    """``count`` different trainings on one pool."""
    sweep = read(str(trivial.sweep_file(folder, count)))
    proposer = proposers.of(sweep)
    planned = [plan(sweep.experiment(trial, 0)).train for _ in range(count) if (trial := proposer.ask())]
    return [spec for spec in planned if spec]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--jobs", type=int, default=500, help="a multiple of 25")
    arguments.add_argument("--partition", default="batch")
    args = arguments.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), str(trivial.ROOT)])  # jobs unpickle bodies by name
    profile = ClusterConfig(cluster="slurm", poll_s=1.0, default={"partition": args.partition, "mem_gb": 0.5, "timeout_min": 20,
                                                                  "at_once": args.jobs})
    with tempfile.TemporaryDirectory(prefix="slurm-arrays-", dir=os.getcwd()) as folder, trivial.bodies():
        store = Store(Path(folder) / "store").open()
        goals = trainings(Path(folder), args.jobs)
        dispatcher = Dispatcher(store, connect(profile, Job(store, Runtime(), Tracking(store.root))))
        dispatcher.add(goals)
        began = time.perf_counter()
        while any(dispatcher.states[goal.fingerprint] == "waiting" for goal in goals):
            dispatcher.step()
        prepared = time.perf_counter()
        while dispatcher.open():
            dispatcher.step()
        seconds = time.perf_counter() - prepared
        wanted = {goal.fingerprint for goal in goals}
        ran = Counter(f for f in (store.root / "executions.log").read_text().split() if f in wanted)
        lost = sum(not store.has(fingerprint) for fingerprint in wanted)
        arrays = [len(s.packs) for s in submissions(store) if s.stage == "train"]
    print(f"{len(dispatcher.specs) - args.jobs} shared stages {prepared - began:.1f} s, then {args.jobs} jobs {seconds:.1f} s: "
          f"{seconds / args.jobs:.2f} s a job\nsubmitted as arrays of {arrays}; lost {lost}, "
          f"ran more than once {sum(count > 1 for count in ran.values())}, failed {len(dispatcher.failures)}; "
          f"load average at the end {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
