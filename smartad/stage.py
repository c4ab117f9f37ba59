"""What a stage is, and what a request for one looks like."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from smartad.fingerprint import canonical, digest
from smartad.site import EngineSite

RECORD = "record.json"
"""In a finished stage's folder: written last, it says that the output is whole."""
Metrics = Mapping[str, float | None]
"""Scalars by name; None says "not measured", which is not 0."""


def _no_report(step: int, **metrics: float) -> None:
    """Live metrics go nowhere unless a tracker is listening."""


def _no_note(**facts: str | float) -> None:
    """Nobody writes down how it ran."""


def _no_progress(done: int, total: int) -> None:
    """Nobody is watching."""


@dataclass(frozen=True)
class Runtime:
    """Where and how a stage runs.  Never part of its identity."""

    data: Path | None = None
    """Folder of the benchmark and corpus files."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Local folder of each model that is not the toy student or a hub id, by identity (see ``models.identify``)."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Where each file to import is, by its SHA-256."""
    threads: int = 1
    processes: int = 1
    """That a stage may split over, if it can; with GPUs, one for each.  They share the threads out."""
    gpus: int = 0
    batch_tokens: int | None = None
    """Tokens in a forward when scoring; None is chosen from free memory."""
    checkpoint_every: int = 100
    """Optimizer steps between the points that a killed training goes on from."""
    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    """Compute activations again in the backward pass instead of keeping them: less memory, a third more time, the same
    weights.  auto: where they would not fit (``engines.memory``)."""
    token_budget: int | None = None
    """Tokens that a stage of episodes may have generated: when they are spent, no other episode begins."""
    engine_errors: float = 0.05
    """The share of a stage's episodes in which the engine may fail; if it fails in more, there is no result."""
    sandbox: str = "auto"
    """The wall that code of models runs behind: auto, bubblewrap, apptainer, landlock, or none (see ``agents.walls``)."""
    deepspeed: Mapping[str, Any] | None = None
    """DeepSpeed's own configuration, to train under it; None is PyTorch's data parallelism."""
    engine: EngineSite | None = None
    """Where a stage that asks a model finds it; None is in this process."""
    judges: Mapping[str, EngineSite] = field(default_factory=dict)
    """Where graders find the models that judge, by name."""
    cache: Path | None = None
    """Folder of answers that were paid for, which any stage of a store may use; None is to keep none."""
    retriever: str | None = None
    """Address of a server of the index to search (``smartad serve-retriever``); None is to search in this process."""
    report: Callable[..., None] = _no_report
    """``report(step, **metrics)``: live scalars, for trackers."""
    note: Callable[..., None] = _no_note
    """``note(engine="http", sandbox="bubblewrap 0.8.0")``: strings and numbers about where and how it ran, for the record."""
    progress: Callable[[int, int], None] = _no_progress
    """``progress(done, total)``: for whoever watches."""


@dataclass(frozen=True)
class Stage:
    """A named, versioned function ``(config, inputs, out, runtime) -> metrics``.

    It reads its config and its inputs (role -> folder), writes only under ``out``, and returns the scalars worth a place
    in a table.  Called again on a half-filled ``out``, it carries on.
    """

    name: str
    version: int
    run: Callable[[Any, Mapping[str, Path], Path, Runtime], Metrics]


@dataclass(frozen=True)
class StageSpec:
    """A request for one stage's output.  Building one runs nothing."""

    stage: Stage
    config: Any
    inputs: Mapping[str, "StageSpec"] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What people call it, for trackers: a row's trial, seed and swept values.  Never part of its identity."""

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the fingerprint is the hash of."""
        inputs = {role: spec.fingerprint for role, spec in self.inputs.items()}
        return {"stage": self.stage.name, "version": self.stage.version,
                "config": canonical(self.config), "inputs": inputs}

    @cached_property
    def fingerprint(self) -> str:
        """``<stage>-<12 hex digits>``: the name of this output's folder in any store."""
        return f"{self.stage.name}-{digest(self.identity)}"

    def upstream_first(self) -> list["StageSpec"]:
        """This spec and everything it needs, each once, inputs before users."""
        return upstream_first([self])


def output_files(folder: Path) -> dict[str, Path]:
    """What a stage has left in ``folder``, by name below it: plain files that are not hidden, without the record."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.is_symlink() and not path.name.startswith(".") and path.name != RECORD}


def upstream_first(goals: list[StageSpec]) -> list[StageSpec]:
    """``goals`` and everything they need, each once, inputs before users."""
    seen: dict[str, StageSpec] = {}

    def visit(spec: StageSpec) -> None:
        if spec.fingerprint in seen:
            return
        for parent in spec.inputs.values():
            visit(parent)
        seen[spec.fingerprint] = spec

    for goal in goals:
        visit(goal)
    return list(seen.values())
