"""Stages that do as they are told, and a driver of them on this machine."""

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.cluster.workers import REPEAT_S
from smartad.stage import Runtime, Stage, StageSpec
from smartad.tracking import Tracking
from smartad.types import UserError

# A submitit job unpickles the stages of this file by name.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])


@dataclass(frozen=True)
class Config:
    name: str = ""
    do: str = ""
    seconds: float = 0.05


def run(config, inputs, out, runtime):
    with (out.parent / "executions.log").open("a") as log:
        log.write(f"{config.name}\n")
    if config.do == "raise":
        raise ValueError("as asked")
    if config.do == "refuse":
        raise UserError("mend your config")
    if config.do == "die" or (config.do == "die once" and not (out / "tried").exists()):
        (out / "tried").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if config.do == "drop an exception":  # as a library does while it is imported
        (out / "busy").touch()
        try:
            time.sleep(config.seconds)
        except SystemExit:
            (out / "dropped").touch()
        try:
            time.sleep(config.seconds)
        finally:
            time.sleep(3 * REPEAT_S)
            (out / "cleaned").touch()
    time.sleep(config.seconds)
    (out / "said").write_text(config.name + "".join((folder / "said").read_text() for folder in inputs.values()))
    return {"length": len(config.name)}


STAGE = Stage("x", 1, run)


def spec(name, *parents, **config):
    return StageSpec(STAGE, Config(name, **config), {f"in{i}": parent for i, parent in enumerate(parents)})


def executions(store):
    path = store.root / "executions.log"
    return Counter(path.read_text().split()) if path.exists() else Counter()


def job(store):
    return Job(store, Runtime(), Tracking(store.root))


WORKERS = ClusterConfig()


def bring_to_end(store, goals, config=WORKERS, jobs=2):
    executor = connect(config, job(store), jobs)
    dispatcher = Dispatcher(store, executor)
    dispatcher.add(goals)
    try:
        while dispatcher.open():
            dispatcher.step()
    finally:
        executor.close()
    return dispatcher
