"""A sweep on a SLURM cluster that everything happens to: does every stage still finish exactly once?

Brings up slurm/dev, runs a grid of trivial trials on it, and meanwhile kills the driver and nodes, preempts, requeues and cancels
jobs, and kills slurmctld.  Prints what it did and what came out; exit status 1 when a stage is missing or was finished twice.

  python benchmarks/chaos.py [--trials 75] [--seed 0]
"""

import argparse
import contextlib
import dataclasses
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

import trivial
from smartad import experiment
from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.records import write_json
from smartad.stage import Runtime
from smartad.store import Store
from smartad.sweep import ledger
from smartad.sweep.driver import Driver, drive, start
from smartad.sweep.space import read
from smartad.tracking import Tracking

DEV = trivial.ROOT / "slurm/dev"
NODES = 3
STEP_S = 0.5
STEPS = {"train": 20, "evaluate": 6}
"""Of STEP_S; one of any other stage.  Long enough to be cut off in the middle."""
PROFILE = ClusterConfig(cluster="slurm", poll_s=1.0, default={"timeout_min": 10, "mem_gb": 0.4, "signal_s": 20},
                        stages={name: {"pack": 10} for name in ("prepare", "grade", "aggregate")})
EVENTS = ["driver", "driver", "requeue", "driver", "preempt", "driver", "node", "driver", "scancel", "controller", "driver",
          "driver", "node", "driver", "preempt", "scancel", "driver"]


def body(config, inputs, out, runtime):
    """Steps that are not done again after a kill; every start and finish is written down."""
    note(out, "start")
    done = out / "steps"
    for step in range(len(done.read_text()) if done.exists() else 0, STEPS.get(out.name.split("-")[0], 1)):
        time.sleep(STEP_S)
        done.write_text("x" * (step + 1))
    metrics = (trivial.cells if out.name.startswith("aggregate") else trivial.body)(config, inputs, out, runtime)
    note(out, "finish")
    return metrics


def note(out: Path, event: str) -> None:
    """A file for everything that ran: appending to one would be torn by the next kill."""
    (out.parent / "executions").mkdir(exist_ok=True)
    said = {"event": event, "stage": out.name, "time": time.time(), "job": os.environ.get("SLURM_JOB_ID"),
            "restart": os.environ.get("SLURM_RESTART_COUNT", "0")}
    write_json(out.parent / "executions" / f"{uuid.uuid4().hex}.json", said)


def drive_sweep(store: Store, sweep: Path) -> None:
    """What is killed again and again: the driver."""
    for name in trivial.STAGES:
        trivial.use(name, dataclasses.replace(getattr(experiment, name), run=body))
    driver = Driver(read(str(sweep)), store)
    executor = connect(PROFILE, Job(store, Runtime(), Tracking(store.root)))
    dispatcher = Dispatcher(store, executor)
    start(driver, dispatcher)
    drive(driver, dispatcher, lambda: None)
    print(Counter(dispatcher.states.values()), dispatcher.failures)
    sys.exit(bool(dispatcher.failures))


class Chaos:
    """The cluster, the driver, and what befalls them."""

    def __init__(self, folder: Path, trials: int, seed: int) -> None:
        self.sweep = trivial.sweep_file(folder, trials)
        self.store = Store(folder / "store").open()
        self.random = random.Random(seed)
        self.slurm = {"SLURM_DEV": str(folder / "slurm"), "SLURM_CONF": str(folder / "slurm/slurm.conf")}
        path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
        self.environment = {**os.environ, **self.slurm, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self.log = (folder / "driver.log").open("a")
        self.began = time.monotonic()
        self.did: Counter[str] = Counter()

    def sh(self, *words: str) -> str:
        """A command on the cluster; one that fails has had its effect or has not, as in life."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=120)
        return (done.stdout + done.stderr).strip()

    def launch(self) -> None:
        """Start the driver."""
        words = [sys.executable, __file__, "--drive", str(self.store.root), str(self.sweep)]
        self.driver = subprocess.Popen(words, env=self.environment, stdout=self.log, stderr=self.log)

    def happen(self, event: str) -> None:
        """One blow."""
        running = self.sh("squeue", "-h", "-r", "-t", "R", "-p", "batch", "-o", "%i").split()
        said = ""
        if event == "driver":
            self.driver.send_signal(signal.SIGKILL)
            self.driver.wait()
            self.launch()
        elif event in ("requeue", "scancel") and running:
            job = self.random.choice(running)
            said = f"{job} {self.sh(*(['scontrol', 'requeue', job] if event == 'requeue' else ['scancel', job]))}"
        elif event == "preempt":
            said = self.sh(str(DEV / "preempt"), "4")
        elif event == "node":
            node = f"n{self.random.randint(1, NODES)}"
            said = self.sh(str(DEV / "node"), "kill", node)
            time.sleep(25)
            self.sh(str(DEV / "node"), "start", node)
        elif event == "controller":
            self.sh(str(DEV / "controller"), "kill")
            time.sleep(5)
            self.sh(str(DEV / "controller"), "start")
        self.did[event] += 1
        self.say(f"{event} {said}")

    def say(self, text: str) -> None:
        """A line with the time."""
        print(f"{time.monotonic() - self.began:6.1f} s  {len(self.store.fingerprints()):4d} done  {text}", flush=True)

    def report(self) -> bool:
        """Print what came out.  Whether every stage is there and was finished once."""
        rows = [json.loads(path.read_text()) for path in (self.store.root / "executions").glob("*.json")]
        stages = set(ledger.load(self.store, self.sweep.stem).stages())
        missing = stages - set(self.store.fingerprints())
        began = {stage: self.store.record(stage)["started"] for stage in stages - missing}
        finishes = Counter(row["stage"] for row in rows if row["event"] == "finish")
        recorded = Counter(row["stage"] for row in rows if row["event"] == "finish" and row["time"] >= began.get(row["stage"], 0))
        twice = {stage for stage, times in recorded.items() if times > 1}
        damaged = [line for f in self.store.fingerprints() for line in self.store.verify(f)]
        starts = sum(row["event"] == "start" for row in rows)
        print(f"\n{len(stages)} stages; finished exactly once: {sum(recorded[s] == 1 for s in stages)}; twice: {len(twice)}; "
              f"missing: {len(missing)}; damaged: {len(damaged)}\nstarts {starts}, cut off in the middle "
              f"{starts - finishes.total()}, at the end but before the record {finishes.total() - recorded.total()}; "
              f"jobs {len({(r['job'], r['restart']) for r in rows})}; "
              f"blows {dict(self.did)}; {time.monotonic() - self.began:.0f} s, load {os.getloadavg()[0]:.1f} on "
              f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
        return not (missing or twice or damaged)


def free_ports() -> int:
    """The first of twenty ports that nobody listens on."""
    for first in range(28000, 32000, 20):
        with contextlib.ExitStack() as stack:
            probes = [stack.enter_context(socket.socket()) for _ in range(20)]
            if all(probe.connect_ex(("127.0.0.1", first + i)) for i, probe in enumerate(probes)):
                return first
    raise SystemExit("no twenty free ports between 28000 and 32000")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--trials", type=int, default=75, help="a multiple of 25")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--drive", nargs=2, metavar=("STORE", "SWEEP"), help=argparse.SUPPRESS)
    args = arguments.parse_args()
    if args.trials % 25:
        arguments.error(f"--trials {args.trials}: the grid has a multiple of 25")
    if args.drive:
        drive_sweep(Store(Path(args.drive[0])).open(), Path(args.drive[1]))
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        chaos = Chaos(Path(folder), args.trials, args.seed)
        subprocess.run([DEV / "up"], env={**chaos.environment, "NODES": str(NODES), "PORT": str(free_ports())}, check=True)
        try:
            chaos.launch()
            for event in EVENTS:
                time.sleep(6 * (0.7 + 0.6 * chaos.random.random()))
                if chaos.driver.poll() is not None:
                    break
                chaos.happen(event)
            while chaos.driver.poll() is None:
                time.sleep(10)
                chaos.say("")
            ok = chaos.report() and chaos.driver.returncode == 0
            if not ok:
                print((Path(folder) / "driver.log").read_text()[-3000:])
        finally:
            if chaos.driver.poll() is None:
                chaos.driver.kill()
            subprocess.run([DEV / "down"], env=chaos.environment, check=False)
    sys.exit(not ok)


if __name__ == "__main__":
    main()
