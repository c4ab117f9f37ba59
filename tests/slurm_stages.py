"""Stages that do as they are told, and a driver of them on a SLURM cluster."""

import contextlib
import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.stage import Runtime, Stage, StageSpec
from smartad.tracking import Tracking

# Jobs unpickle the stages of this file by name.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
SITE = ClusterConfig(cluster="slurm", poll_s=0.3, default={"timeout_min": 10, "mem_gb": 0.5, "signal_s": 20})


@dataclass(frozen=True)
class Config:
    name: str = ""
    do: str = ""
    seconds: float = 0.2


def run(config, inputs, out, runtime):
    """Notes each start in ``starts``; goes on from what an earlier start has left."""
    with (out / "starts").open("a") as file:
        file.write(f"{os.environ['SLURM_JOB_ID']} {os.environ['SLURMD_NODENAME']}\n")
    first = len(starts(out)) == 1
    if config.do == "wait to be stopped" and first:
        time.sleep(600)
    if config.do == "wait and catch" and first:
        with contextlib.suppress(Exception):
            time.sleep(600)
    if config.do == "be deaf" and first:  # a library may have its own idea of SIGUSR2
        import signal
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        time.sleep(600)
    if config.do == "die" and first:
        os.kill(os.getpid(), 9)
    if config.do == "raise":
        raise ValueError("as asked")
    if config.do == "eat":
        eaten = [os.urandom(2**20) for _ in range(700)]
        time.sleep(5.0)
        return {"megabytes": len(eaten)}
    if config.do == "write":
        for number in range(round(config.seconds / 0.1)):
            (out / "progress").write_text(str(number))
            time.sleep(0.1)
    else:
        time.sleep(config.seconds)
    return {"starts": len(starts(out))}


STAGE = Stage("x", 1, run)


def spec(name, *parents, **config):
    return StageSpec(STAGE, Config(name, **config), {f"in{i}": parent for i, parent in enumerate(parents)})


def starts(folder):
    """(job, node) of each time the stage in ``folder`` was started."""
    path = folder / "starts"
    return [tuple(line.split()) for line in path.read_text().splitlines()] if path.exists() else []


class Drive:
    """A driver of a plan in this process."""

    def __init__(self, store, goals, config=SITE, job=None):
        self.store, self.goals = store, goals
        self.executor = connect(config, job or Job(store, Runtime(), Tracking(store.root)))
        self.dispatcher = Dispatcher(store, self.executor)
        self.dispatcher.add(goals)

    def until(self, condition, within_s=120.0):
        """Go on until ``condition``."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert self.dispatcher.open(), f"ended too soon: {self.dispatcher.failures}"
            assert time.monotonic() < deadline, f"not after {within_s:g} s: {self.dispatcher.states}"
            self.dispatcher.step()

    def to_end(self, within_s=240.0):
        """Go on until everything is done or hopeless."""
        self.until(lambda: not self.dispatcher.open(), within_s)

    def started(self, *specs):
        """Whether all of ``specs`` are at work."""
        return all(self.starts(s) for s in specs)

    def starts(self, spec):
        return starts(self.store.folder(spec.fingerprint))

    def states(self):
        return {s.config.name: self.dispatcher.states[f] for f, s in self.dispatcher.specs.items()}

    def submissions(self):
        """Name -> how often it was submitted."""
        packs = [pack for path in self.store.root.glob("jobs/*/submission.json")
                 for pack in json.loads(path.read_text())["packs"]]
        names = {f: s.config.name for f, s in self.dispatcher.specs.items()}
        return Counter(names[f] for pack in packs for f in pack)
