"""Sweeps of many trials whose stages do nothing, so that all the time they take is smartad's own."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from smartad import experiment
from smartad.records import write_jsonl
from smartad.stage import Stage
from smartad.stages import index
from smartad.types import Cell

ROOT = Path(__file__).parent.parent
STAGES = ("PREPARE", "INDEX", "COLLECT", "GRADE", "SCORE", "SELECT", "TRAIN", "EVALUATE", "AGGREGATE")


def body(config, inputs, out, runtime):
    """Read the inputs, write something, return a metric; a real stage does no less.  It may burn TRIVIAL_CPU_S.

    A line in ``<store>/executions.log`` says that it ran.
    """
    with (out.parent / "executions.log").open("a") as log:
        log.write(f"{out.name}\n")
    until = time.process_time() + float(os.environ.get("TRIVIAL_CPU_S", "0"))
    while time.process_time() < until:
        pass
    (out / "said.txt").write_text(f"{len([(folder / 'said.txt').read_text() for folder in inputs.values()])} inputs\n")
    return {"avg": float(len(inputs))}


def cells(config, inputs, out, runtime):
    """As ``body``, with what a table is made of."""
    write_jsonl(out / "cells.jsonl", [Cell(name, 1, 2, 0, folder.name) for name, folder in inputs.items()])
    return body(config, inputs, out, runtime)


@contextlib.contextmanager
def bodies() -> Iterator[None]:
    """Inside, plans are made of the real stages with ``body`` for theirs; names, configs and graph stay as they are."""
    real = {name: getattr(experiment, name) for name in STAGES}
    try:
        for name, stage in real.items():
            use(name, dataclasses.replace(stage, run=cells if name == "AGGREGATE" else body))
        yield
    finally:
        for name, stage in real.items():
            use(name, stage)


def use(name: str, stage: Stage) -> None:
    """Let plans be made of ``stage`` where they are of the real one called ``name``."""
    for module in (experiment, index):
        if hasattr(module, name):
            setattr(module, name, stage)


def sweep_file(folder: Path, trials: int) -> Path:
    """A grid of ``trials`` (a multiple of 25) rows.  Six stages are a row's own: train, twice evaluate and grade, aggregate."""
    path = folder / f"trivial{trials}.yaml"
    rates = [round(1e-4 * (1 + i), 6) for i in range(trials // 25)]
    path.write_text(yaml.safe_dump({
        "base": [str(ROOT / "configs/toy.yaml"), "benchmarks={in_domain: [toy_math, toy_qa], out_of_domain: []}"],
        "space": {"train.learning_rate": rates, "train.weights.final": [1 + i / 10 for i in range(25)]}}, sort_keys=False))
    return path
