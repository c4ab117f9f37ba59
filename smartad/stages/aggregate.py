"""Aggregate: verdicts -> one row of a comparison table."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Metrics, Runtime, Stage
from smartad.stages.grade import cell, summary
from smartad.types import Cell, Verdict

SECOND = "@"
"""Between a benchmark and a grader, in the name of an input whose verdicts do not count: ``math500@math_paper``."""

COUNTS = ("correct", "n", "ungraded", "questions")
"""Of ``summary``: what cells hold.  The rest are means."""


@dataclass(frozen=True)
class AggregateConfig:
    """Nothing to set: the row is its inputs."""


def run(config: AggregateConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """Inputs: a grade folder per benchmark, by the benchmark's name, and ``<benchmark>@<grader>`` of other graders.  Writes
    cells.jsonl, and what the others say into other_cells.jsonl.

    Metrics ``pass@1/<benchmark>`` in percent and ``avg``, their macro mean as in the papers' tables; None when a benchmark
    has nothing graded.  ``pass@1/<benchmark>@<grader>`` of the others.  Of several samples, pass@2 and so on, too, and of graders
    with a score, ``f1/<benchmark>``.
    """
    cells: dict[str, Cell] = {}
    scores: dict[str, float | None] = {}
    for role, folder in inputs.items():
        verdicts = list(read_jsonl(folder / "verdicts.jsonl", Verdict))
        cells[role] = cell(role.partition(SECOND)[0], verdicts, source=folder.name)
        scores |= {f"{name}/{role}": value for name, value in summary(verdicts).items() if name not in COUNTS}
    write_jsonl(out / "cells.jsonl", [one for role, one in cells.items() if SECOND not in role])
    write_jsonl(out / "other_cells.jsonl", [one for role, one in cells.items() if SECOND in role])
    counted = [scores[f"pass@1/{role}"] for role in inputs if SECOND not in role]
    measured = [score for score in counted if score is not None]
    complete = measured and len(measured) == len(counted)
    return {**scores, "avg": sum(measured) / len(measured) if complete else None}


AGGREGATE = Stage("aggregate", version=2, run=run)
