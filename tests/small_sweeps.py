"""Sweeps whose stages take no time: the plan, the configs, the store and the workers are real, the bodies are not.

``train.weights.final`` is how many of each benchmark's 40 questions the adapter will answer; above 40 it cannot be trained.
"""

import dataclasses
import time
from collections import Counter

import yaml

from smartad import experiment
from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.records import write_jsonl
from smartad.stage import Runtime, StageSpec
from smartad.stages.grade import summary
from smartad.sweep.driver import Driver, drive, start
from smartad.sweep.space import read
from smartad.tracking import Tracking
from smartad.types import UserError, Verdict

QUESTIONS = 40
WAIT_S = 60.0


def declare(tmp_path, **keys):
    """A sweep file of the toy world with ``keys``, read."""
    path = tmp_path / "declared.yaml"
    path.write_text(yaml.safe_dump(keys, sort_keys=False))
    return read(str(path))


def train(config, inputs, out, runtime):
    """An adapter that is said to be as good as its weight; ``mended`` in the store lets even the hopeless be trained."""
    right, mended = int(config.weights.final), out.parent / "mended"
    _log(out, f"train/{right}/{config.seed}")
    if right > QUESTIONS and not mended.exists():
        raise UserError("cannot be trained")
    _await(mended, unless=right != 0)
    (out / "right").write_text(str(right))
    return {}


def evaluate(config, inputs, out, runtime):
    """Answer as well as the adapter; untrained, nothing.  With less than half right, toy_qa3 takes as long as a test may."""
    right = int((inputs["adapter"] / "right").read_text()) if "adapter" in inputs else 0
    if right < QUESTIONS / 2 and "questions/toy_qa3" in inputs:
        _log(out, f"slow/{right}")
        _await(out.parent / "never", unless=(out.parent / "no_waiting").exists())
    (out / "right").write_text(str(right))
    return {}


def grade(config, inputs, out, runtime):
    """The first so many questions are right."""
    answered = inputs["attempts"] / "right"
    right = int(answered.read_text()) if answered.exists() else 0
    verdicts = [Verdict(f"q/{i}", 0, i < right, "test/1", "") for i in range(QUESTIONS)]
    write_jsonl(out / "verdicts.jsonl", verdicts)
    return summary(verdicts)


def nothing(config, inputs, out, runtime):
    return {}


BODIES = {"train": train, "evaluate": evaluate, "grade": grade}


def planned(config):
    """The plan of an experiment with the bodies of this module, but for aggregate's."""
    plan = experiment.plan(config)
    specs: dict[str, StageSpec] = {}
    for spec in plan.goal.upstream_first():
        stage = spec.stage
        if stage.name != "aggregate":
            stage = dataclasses.replace(stage, run=BODIES.get(stage.name, nothing))
        inputs = {role: specs[parent.fingerprint] for role, parent in spec.inputs.items()}
        specs[spec.fingerprint] = StageSpec(stage, spec.config, inputs)
    return dataclasses.replace(plan, goal=specs[plan.goal.fingerprint])


class Recorder:
    """A proposer, and what went between it and the driver."""

    def __init__(self, proposer):
        self.proposer, self.heard = proposer, []

    def ask(self):
        trial = self.proposer.ask()
        self.heard.append(("ask", trial.label if trial else None))
        return trial

    def tell(self, trial, outcome):
        self.heard.append((outcome.state, trial.label))
        self.proposer.tell(trial, outcome)

    def told(self):
        return [said for said in self.heard if said[0] != "ask"]


def run(sweep, store, each_round=lambda driver: None, jobs=2, tracking=None):
    """Bring a sweep to its end on worker processes.  Its driver and its dispatcher."""
    driver = Driver(sweep, store, planned=planned)
    driver.proposer = Recorder(driver.proposer)
    executor = connect(ClusterConfig(), Job(store, Runtime(), tracking or Tracking(store.root)), jobs)
    dispatcher = Dispatcher(store, executor)
    try:
        start(driver, dispatcher)
        drive(driver, dispatcher, lambda: each_round(driver))
    finally:
        executor.close()
    return driver, dispatcher


def executions(store):
    """``train/<right>/<seed>`` -> how often it ran."""
    path = store.root / "executions.log"
    return Counter(path.read_text().split()) if path.exists() else Counter()


def _log(out, line):
    with (out.parent / "executions.log").open("a") as log:
        log.write(f"{line}\n")


def _await(path, unless):
    until = time.monotonic() + WAIT_S
    while not unless and not path.exists() and time.monotonic() < until:
        time.sleep(0.02)
