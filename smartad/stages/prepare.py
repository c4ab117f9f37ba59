"""Prepare: a benchmark's raw file, or its generator, to Question rows.  Nothing after it sees a raw format."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smartad import benchmarks
from smartad.data import files, ids
from smartad.data.ids import Golds
from smartad.records import write_jsonl
from smartad.stage import Metrics, Runtime, Stage
from smartad.types import UserError


@dataclass(frozen=True)
class PrepareConfig:
    """Which questions."""

    benchmark: str
    sha256: str | None = None
    """What identifies them (``data.ids.pin``), whichever file they are read from; ``plan`` copies it.  None: generated."""
    limit: int | None = None
    """The first so many; None: all."""
    golds: Literal["corrected"] | None = None
    """With the corrections in the benchmark's DEFECTS; None: as published."""

    def __post_init__(self) -> None:
        benchmarks.get(self.benchmark)
        if self.limit is not None and self.limit < 1:
            raise UserError(f"limit must be at least 1, got {self.limit} for benchmark {self.benchmark}")


def config_of(benchmark: str, limit: int | None, golds: Golds) -> PrepareConfig:
    """What prepares ``benchmark``: where there is nothing to correct, both golds are the same questions, and one stage."""
    original, wanted = ids.pin(benchmark, "original"), ids.pin(benchmark, golds)
    return PrepareConfig(benchmark, wanted, limit, "corrected" if wanted != original else None)


def run(config: PrepareConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """No inputs.  Writes questions.jsonl, and defects.jsonl where the benchmark is known to have some.

    Metrics: ``questions``, ``ungradable``, and ``defects/<kind>`` of the kinds that the benchmark is known to have.
    """
    name = config.benchmark
    published = files.read(name, runtime.data)
    questions = benchmarks.corrected(name, published) if config.golds else published
    found = ids.sha256_of(questions)
    if ids.known(name) and config.sha256 not in (None, found):
        raise UserError(f"the questions of {name} are not the planned ones: sha256 expected {config.sha256}, found {found}; plan "
                        "again with the smartad that runs this")
    kept = questions[:config.limit]
    write_jsonl(out / "questions.jsonl", kept)
    if benchmarks.defects(name):
        write_jsonl(out / "defects.jsonl", files.defects_among(name, kept))
    counts = {f"defects/{kind}": count for kind, count in files.counted(name, kept).items()}
    return {"questions": len(kept), "ungradable": sum(map(files.ungradable, kept)), **counts}


PREPARE = Stage("prepare", version=2, run=run)
