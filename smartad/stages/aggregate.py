"""Aggregate: verdicts -> one row of a comparison table."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Metrics, Runtime, Stage
from smartad.stages.grade import summary
from smartad.types import Cell, Verdict


@dataclass(frozen=True)
class AggregateConfig:
    """Nothing to set: the row is its inputs."""


def run(config: AggregateConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """Inputs: a grade folder per benchmark, by the benchmark's name.  Writes cells.jsonl.

    Metrics ``pass@1/<benchmark>`` in percent and ``avg``, their macro mean as in the papers' tables; None when a benchmark
    has nothing graded.
    """
    cells, scores = [], {}
    for benchmark, folder in inputs.items():
        counts = summary(list(read_jsonl(folder / "verdicts.jsonl", Verdict)))
        cells.append(Cell(benchmark, int(counts["correct"] or 0), int(counts["n"] or 0), int(counts["ungraded"] or 0),
                          source=folder.name))
        scores[benchmark] = counts["pass@1"]
    write_jsonl(out / "cells.jsonl", cells)
    measured = [score for score in scores.values() if score is not None]
    complete = measured and len(measured) == len(scores)
    return {**{f"pass@1/{name}": score for name, score in scores.items()},
            "avg": sum(measured) / len(measured) if complete else None}


AGGREGATE = Stage("aggregate", version=1, run=run)
