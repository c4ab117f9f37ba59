"""The same trivial trials with smartad and with hydra-submitit-launcher, side by side in one run.

  python benchmarks/beside_hydra.py --hydra PYTHON [--trials 25] [--cpu-s 0] [--slurm PARTITION]

``--hydra`` is a Python that has hydra-submitit-launcher; it needs an environment of its own, since hydra-core wants an older
omegaconf.  A trial is the 14 stages of a row.  hydra runs a trial as one job; smartad runs a stage once for all rows that
share it.  With ``--slurm`` both submit to that partition of the SLURM that is configured here, else both stay on this machine.
"""

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import trivial
from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.stage import Runtime
from smartad.store import Store
from smartad.sweep.driver import Driver, drive, start
from smartad.sweep.space import read
from smartad.tracking import Tracking

STAGES = 14
APP = Path(__file__).with_name("hydra_app.py")


def hydra(python: str, folder: Path, trials: int, cpu_s: float, partition: str | None) -> int:
    """Run all trials as jobs; the number of stage bodies that ran."""
    launcher = ["hydra/launcher=submitit_slurm", f"hydra.launcher.partition={partition}", "hydra.launcher.mem_gb=1",
                "hydra.launcher.array_parallelism=256"] if partition else ["hydra/launcher=submitit_local"]
    subprocess.run([python, str(APP), "--multirun", *launcher, "hydra.launcher.timeout_min=20", f"hydra.sweep.dir={folder}",
                    f"+trial=range(0,{trials})", f"+stages={STAGES}", f"+cpu_s={cpu_s}"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ran = len(list(folder.glob("*/stage*/said.txt")))
    assert ran == STAGES * trials, f"{ran} of {STAGES * trials} bodies ran"
    return ran


def smartad(profile: ClusterConfig, folder: Path, trials: int) -> int:
    """Run the sweep; the number of stage bodies that ran."""
    store = Store(folder / "store").open()
    driver = Driver(read(str(trivial.sweep_file(folder, trials))), store)
    executor = connect(profile, Job(store, Runtime(), Tracking(store.root)))
    dispatcher = Dispatcher(store, executor)
    try:
        start(driver, dispatcher)
        drive(driver, dispatcher, lambda: None)
    finally:
        executor.close()
    assert set(dispatcher.states.values()) == {"done"}, dispatcher.failures
    return len(store.fingerprints())


def say(what: str, work: Callable[[Path], int], trials: int) -> None:
    """Time ``work`` in an empty folder and print its line."""
    with tempfile.TemporaryDirectory(prefix="beside-hydra-", dir=os.getcwd()) as folder:
        began = time.perf_counter()
        ran = work(Path(folder))
        seconds = time.perf_counter() - began
    print(f"{what:<34} {seconds:8.1f} s   {seconds / trials:6.2f} s a trial   {ran:5d} bodies ran", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--hydra", required=True, metavar="PYTHON")
    arguments.add_argument("--trials", type=int, default=25, help="a multiple of 25")
    arguments.add_argument("--cpu-s", type=float, default=0.0, help="CPU seconds that a stage body burns")
    arguments.add_argument("--slurm", metavar="PARTITION")
    args = arguments.parse_args()
    # Jobs unpickle the stage bodies by name.
    os.environ.update(PYTHONPATH=os.pathsep.join([str(APP.parent), str(trivial.ROOT)]), TRIVIAL_CPU_S=str(args.cpu_s))
    profiles = {"smartad, worker processes": ClusterConfig(), "smartad, submitit local": ClusterConfig(cluster="local")}
    if args.slurm:
        default = {"partition": args.slurm, "mem_gb": 1, "timeout_min": 20}
        profiles = {f"smartad, SLURM, pack {pack}": ClusterConfig(cluster="slurm", poll_s=0.5, default={**default, "pack": pack})
                    for pack in (1, 8)}
    print(f"{args.trials} trials of {STAGES} stages of {args.cpu_s:g} CPU s")
    say(f"hydra, submitit {'SLURM' if args.slurm else 'local'}",
        lambda folder: hydra(args.hydra, folder, args.trials, args.cpu_s, args.slurm), args.trials)
    with trivial.bodies():
        for what, profile in profiles.items():
            say(what, lambda folder, profile=profile: smartad(profile, folder, args.trials), args.trials)
    print(f"load average at the end {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
