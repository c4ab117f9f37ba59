"""What a sweep file says, and the trials it can propose."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

from smartad import papers
from smartad.config import ConfigError, Template, load, read_yaml, settings
from smartad.experiment import Experiment
from smartad.fingerprint import canonical, digest
from smartad.sweep.stopping import RULES, Course, StoppingConfig, course
from smartad.types import UserError

Direction = Literal["maximize", "minimize"]

ARM = "arm"
"""The dimension of ``space`` that the arms are."""


@dataclass(frozen=True)
class SweepConfig:
    """One file in sweeps/."""

    base: list[str] = field(default_factory=list)
    """Experiment YAML files, relative to the sweep file, and overrides; what all trials share."""
    backend: str = "grid"
    """Who proposes trials: a module of smartad.sweep.proposers."""
    arms: dict[str, Any] = field(default_factory=dict)
    """Named rows: name -> {dotted.key: value}, or sources as in ``base``."""
    space: dict[str, Any] = field(default_factory=dict)
    """dotted.key -> a list of values, or {low, high, log} for a search."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """Each trial runs once per seed; its score is their mean."""
    metric: str = "avg"
    """avg, or pass@1/<benchmark>: what the best adapter is the best by."""
    direction: Direction = "maximize"
    objectives: dict[str, str] = field(default_factory=dict)
    """Metric -> direction, for a search over several at once; empty is ``metric`` alone."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the backend, which says in its module what there are."""
    trials: int | None = None
    """How many proposals at most; null is until the proposer runs dry."""
    parallel: int = 4
    """Trials in flight when the next proposal depends on the last scores, or with ``stopping``, where the later trials are
    compared with the earlier ones."""
    stopping: StoppingConfig | None = None
    """When a trial is hopeless; null is never.  With it, each trial's seeds run one after the other."""
    layout: str | None = None
    """The printed table that this one is laid out as: a file of smartad.papers."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds={list(self.seeds)}: name at least one, and each once")
        for name, value in (("trials", self.trials), ("parallel", self.parallel)):
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1, got {value}")
        for name, overrides in self.arms.items():
            sources = isinstance(overrides, list) and overrides and all(isinstance(source, str) for source in overrides)
            if not sources and not isinstance(overrides or {}, dict):
                raise UserError(f"arm {name!r}: expected a mapping of dotted.key: value or a list of sources, got {overrides!r}")
        for metric, direction in self.objectives.items():
            if direction not in get_args(Direction):
                raise UserError(f"objectives.{metric}: expected {' or '.join(get_args(Direction))}, got {direction!r}")
        if self.stopping and len(self.objectives) > 1:
            raise UserError(f"stopping compares trials by one metric, and there are {len(self.objectives)} objectives: "
                            f"{', '.join(self.objectives)}; leave one of the two out")
        if self.layout:
            papers.of_rows(self.layout)
        if ARM in self.space:
            raise UserError(f"{ARM!r} in space: arms are declared under `arms`")

    def aims(self) -> dict[str, Direction]:
        """Metric -> direction, of each number that a proposer is told."""
        return cast(dict[str, Direction], dict(self.objectives)) or {self.metric: self.direction}


@dataclass(frozen=True)
class Trial:
    """One row of the sweep's table."""

    label: str
    values: Mapping[str, Any]
    """dotted.key -> value; ``arm`` -> the arm's name."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    state: Literal["done", "stopped", "failed"]
    """stopped: early, because what was finished of it was hopeless."""
    scores: tuple[float, ...] = ()
    """The mean over seeds of each metric of ``SweepConfig.aims``, in that order; of a stopped trial, of what was finished
    (one number); of a failed one none."""


class Proposer(Protocol):
    """Who decides what to try next.  See smartad.sweep.proposers."""

    def ask(self) -> Trial | None:
        """The next trial; None when there are no more."""

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """How a trial ended.  Also called for trials of an earlier start it never asked for, and once more for one that had
        failed and was tried again."""


def dimensions(config: SweepConfig) -> dict[str, Any]:
    """The space with the arms as its first dimension."""
    return {**({ARM: list(config.arms)} if config.arms else {}), **config.space}


def most(config: Mapping[str, Any]) -> int | None:
    """How many trials a sweep can come to, from its ``declaration``; None when only its proposer knows."""
    if config.get("backend") != "grid":
        return config.get("trials")
    sizes = [len(config["arms"])] if config["arms"] else []
    whole = prod([*sizes, *(len(values) for values in config["space"].values())])
    return min(whole, config["trials"] or whole)


def label(values: Mapping[str, Any]) -> str:
    """A trial's name: its arm, then what else it sets."""
    parts = [f"{key}={value}" for key, value in values.items() if key != ARM]
    return ", ".join([*([str(values[ARM])] if ARM in values else []), *parts]) or "default"


@dataclass(frozen=True)
class Sweep:
    """A sweep file that has been read and found sound."""

    name: str
    """Of its file, and a hash of the overrides where there are any: what table, status and pull know it by."""
    config: SweepConfig
    sources: tuple[str, ...]
    """Of every experiment, before its arm and its point of the space."""

    @cached_property
    def shared(self) -> Template[Experiment]:
        """What ``sources`` say."""
        return Template(Experiment, self.sources)

    def experiment(self, trial: Trial, seed: int) -> Experiment:
        """What one trial runs for one seed.  Raises ConfigError naming the trial."""
        values = dict(trial.values)
        arm = self.config.arms[values.pop(ARM)] or {} if ARM in values else {}
        try:
            return self.shared.load({**arm, **values, "seed": seed})
        except ConfigError as error:
            raise ConfigError(f"{self.name}: trial {trial.label!r}: {error}") from error

    def course(self, benchmarks: Sequence[str]) -> Course | None:
        """What trials are stopped by; None when none is.  Raises UserError when that could save nothing."""
        if self.config.stopping is None:
            return None
        ((metric, direction),) = self.config.aims().items()
        return course(self.config.stopping, metric, 1 if direction == "maximize" else -1, self.config.seeds, benchmarks)


def read(path: str, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep declared in ``path``; ``overrides`` change what all its trials share.

    Raises ConfigError for anything that would fail later: an unknown key, a wrong type, an arm named twice, a missing
    file, a metric that no trial has.
    """
    stopping = read_yaml(path).get("stopping", {"rule": None})
    if stopping is not None and (not isinstance(stopping, Mapping) or "rule" not in stopping):
        raise ConfigError(f"{path}: stopping={stopping}: expected {{rule: NAME}} and perhaps its options; "
                          f"there are the rules {', '.join(RULES)}")
    config = load(SweepConfig, [path])
    if not config.arms and not config.space:
        raise ConfigError(f"{path} declares neither arms nor a space: there is nothing to compare")
    for source in overrides:
        if (key := source.split("=")[0].split(".")[0]) in SweepConfig.__dataclass_fields__:
            raise ConfigError(f"{source}: {key} belongs to the sweep file; overrides change the experiment that its trials share")
    sources = _beside(path, config.base)
    arms = {name: settings(Experiment, _beside(path, arm)) if isinstance(arm, list) else arm for name, arm in config.arms.items()}
    config = dataclasses.replace(config, arms=arms)
    # With overrides it is another sweep: its table must not take the place of the declared one's.
    name = Path(path).stem + (f"+{digest(list(overrides))[:6]}" if overrides else "")
    sweep = Sweep(name, config, (*sources, *overrides))
    columns: dict[str, Trial] = {}
    for trial in corners(config):
        experiment = sweep.experiment(trial, config.seeds[0])
        columns.setdefault(str(experiment.benchmarks), trial)
        if len(columns) > 1:
            raise ConfigError(f"{path}: {' and '.join(repr(t.label) for t in columns.values())} have different benchmarks; "
                              "one table has one set of columns, so make them two sweeps")
        metrics = ["avg", *(f"pass@1/{name}" for name in experiment.benchmarks.names())]
        for metric in (config.metric, *config.objectives):
            if metric not in metrics:
                raise ConfigError(f"{path}: metric={metric!r} is not measured; there are {', '.join(metrics)}")
    try:
        sweep.course(experiment.benchmarks.names())
    except UserError as error:
        raise ConfigError(f"{path}: {error}") from error
    return sweep


def _beside(path: str, sources: Sequence[str]) -> list[str]:
    """``sources`` with their files relative to the one that names them."""
    return [str(Path(path).parent / s) if s.endswith((".yaml", ".yml")) and "=" not in s else s for s in sources]


def corners(config: SweepConfig) -> list[Trial]:
    """Trials that between them use every arm and every listed value or bound at least once."""
    choices = {key: value if isinstance(value, list) else _bounds(key, value) for key, value in dimensions(config).items()}
    for key, options in choices.items():
        if not options:
            raise ConfigError(f"space.{key}: no values")
        if twice := [option for i, option in enumerate(options) if option in options[:i]]:
            raise ConfigError(f"space.{key}: {twice[0]!r} is there twice")
    width = max((len(options) for options in choices.values()), default=1)
    points = [{key: options[i % len(options)] for key, options in choices.items()} for i in range(width)]
    return [Trial(label(point), point) for point in points]


def _bounds(key: str, value: Any) -> list[Any]:
    if not isinstance(value, dict) or not {"low", "high"} <= value.keys() <= {"low", "high", "log"}:
        raise ConfigError(f"space.{key}: expected a list of values or {{low: ..., high: ..., log: false}}, got {value!r}")
    if not value["low"] < value["high"]:
        raise ConfigError(f"space.{key}: low={value['low']} must be below high={value['high']}")
    return [value["low"], value["high"]]


def declaration(sweep: Sweep) -> dict[str, Any]:
    """What was declared, as JSON for the store: the file, and the experiment its trials share."""
    shared = canonical(load(Experiment, list(sweep.sources)))
    return {**dataclasses.asdict(sweep.config), "base": {k: v for k, v in shared.items() if k != "data"}}
