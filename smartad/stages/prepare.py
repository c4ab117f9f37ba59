"""Prepare: a benchmark's raw file, or its generator, to Question rows.  Nothing after it sees a raw format."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smartad import benchmarks
from smartad.benchmarks import Source
from smartad.fingerprint import file_sha256
from smartad.records import write_jsonl
from smartad.stage import Metrics, Runtime, Stage
from smartad.types import UserError


@dataclass(frozen=True)
class PrepareConfig:
    """Which questions."""

    benchmark: str
    sha256: str | None = None
    """Of the raw file; ``plan`` copies it from the benchmark's SOURCE.  None: generated."""
    limit: int | None = None
    """The first so many; None: all."""

    def __post_init__(self) -> None:
        benchmarks.get(self.benchmark)
        if self.limit is not None and self.limit < 1:
            raise UserError(f"limit must be at least 1, got {self.limit} for benchmark {self.benchmark}")


def run(config: PrepareConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """No inputs.  Writes questions.jsonl."""
    module = benchmarks.get(config.benchmark)
    questions = module.load(pinned(module.SOURCE, config.sha256, runtime.data))[:config.limit]
    count = write_jsonl(out / "questions.jsonl", questions)
    return {"questions": count, "ungradable": sum(not question.answers and question.tests is None for question in questions)}


def pinned(source: Source | None, sha256: str | None, data: Path | None) -> Path | None:
    """Where ``source`` is below the data folder, its content checked where it is known; None for generated data.

    Raises UserError when it is missing or is not the pinned file.
    """
    if source is None:
        return None
    if data is None:
        raise UserError(f"{source.file} is needed; say where it is with data=FOLDER")
    path = data / source.file
    if not path.is_file():
        raise UserError(f"no file {path}; say where {source.file} is with data=FOLDER")
    expected = sha256 or source.sha256
    if expected is not None and (found := file_sha256(path)) != expected:
        raise UserError(f"{path} is not the pinned file: sha256 expected {expected}, found {found}")
    return path


PREPARE = Stage("prepare", version=2, run=run)
