"""An experiment: the configs of its stages, and the graph they make."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smartad import benchmarks, corpora, importers, models
from smartad.data.files import located
from smartad.data.ids import Golds
from smartad.dialect import DIALECTS, PROMPTS
from smartad.stage import Runtime, StageSpec
from smartad.stages import score
from smartad.stages.aggregate import AGGREGATE, SECOND, AggregateConfig
from smartad.stages.collect import COLLECT, CollectConfig
from smartad.stages.evaluate import EVALUATE, EvaluateConfig
from smartad.stages.grade import GRADE, Graders, config_for
from smartad.stages.importing import IMPORT, ImportConfig, PoolConfig, identified
from smartad.stages.index import INDEX, Retrieval, files_of, indexed
from smartad.stages.prepare import PREPARE, config_of
from smartad.stages.score import SCORE, ScoreConfig
from smartad.stages.select import SELECT, SelectConfig, decisive
from smartad.stages.train import TRAIN, TrainConfig
from smartad.types import UserError


@dataclass(frozen=True)
class Benchmarks:
    """What every adapter is evaluated on, in the groups of the table."""

    in_domain: list[str] = field(default_factory=lambda: ["toy_math", "toy_qa"])
    out_of_domain: list[str] = field(default_factory=lambda: ["toy_qa3"])

    def names(self) -> list[str]:
        """In the order of the table's columns."""
        return [*self.in_domain, *self.out_of_domain]


@dataclass(frozen=True)
class Limits:
    """Only the first so many questions of each set; None is all of them."""

    train_questions: int | None = None
    questions: int | None = None

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value is not None and value < 1:
                raise UserError(f"limits.{name} must be at least 1, got {value}; null is no limit")


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a row of a table.  One YAML file, plus overrides."""

    student: str = models.TOY
    """toy, a folder, or a hub id with an optional @revision."""
    seed: int = 0
    """Of what a row may do by chance: the random rule, LoRA's initial weights, the order of training."""
    dialect: str = "paper"
    corpus: str | None = "toy"
    """What web_search searches; null is nothing."""
    retrieval: Retrieval = field(default_factory=Retrieval)
    """How it does."""
    train_sets: list[str] = field(default_factory=lambda: ["toy_train"])
    pool: PoolConfig | None = None
    """Trajectories made elsewhere, in place of what ``collect`` would make of ``train_sets``; both then mean nothing."""
    benchmarks: Benchmarks = field(default_factory=Benchmarks)
    limits: Limits = field(default_factory=Limits)
    golds: Golds = "original"
    """The answers (and once the questions) of benchmarks and training sets as published, which is what papers are compared
    with; or corrected where they are known to be wrong or missing (docs/data.md)."""
    collect: CollectConfig = field(default_factory=CollectConfig)
    grade: Graders = field(default_factory=Graders)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    select: SelectConfig = field(default_factory=SelectConfig)
    train: TrainConfig | None = field(default_factory=TrainConfig)
    """null evaluates the student as it is ("Agent Prompting" in the papers)."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    data: str | None = None
    """Folder of the benchmark files.  It says where, not what: no stage's config holds it."""

    def __post_init__(self) -> None:
        _known("dialect", self.dialect, DIALECTS)
        if self.pool:
            self._check_pool(self.pool)
        elif self.select.first > self.collect.samples:
            raise UserError(f"select.first={self.select.first} asks for more than collect.samples={self.collect.samples}; "
                            "K is taken from one pool, so raise samples or lower first")
        if self.train and self.train.loss == "sad_kl":
            self._check_teacher()
        for stage in ("collect", "score", "train", "evaluate"):
            if config := getattr(self, stage):
                _known(f"{stage}.prompt", config.prompt, PROMPTS)
                _known(f"{stage}.dialect", config.dialect, DIALECTS)
        for stage in (["collect"] if self.train and not self.pool else []) + ["evaluate"]:
            self._check_agent(stage, getattr(self, stage))
        for where, names in (("benchmarks", self.benchmarks.names()), ("train_sets", self.train_sets)):
            if not names:
                raise UserError(f"{where} is empty")
            if twice := sorted({n for n in names if names.count(n) > 1}):
                raise UserError(f"{where} names {twice[0]!r} twice")
            for name in names:
                benchmarks.get(name)
        if self.corpus is not None:
            corpora.get(self.corpus)

    def _check_agent(self, stage: str, config: CollectConfig | EvaluateConfig) -> None:
        if (config.agent == "cot") == DIALECTS[config.dialect].acts:
            raise UserError(f"{stage}.agent={config.agent} does not write in {stage}.dialect={config.dialect}: chains of thought "
                            "(agent=cot) are in dialect=cot, plain completions in dialect=text, and code is in neither; set "
                            "both, as configs/method/cot_prompt.yaml does")
        if config.passages and self.corpus is None:
            raise UserError(f"{stage}.passages looks for the question in a corpus, and corpus is null; name one "
                            f"({', '.join(corpora.names())}) or leave passages out")

    def _check_teacher(self) -> None:
        if self.pool:
            raise UserError("train.loss=sad_kl compares the student with the teacher's probabilities, which an imported pool "
                            "has not; use train.loss=sad_mean or sad_sum, or collect a pool with collect.top_logprobs")
        if self.collect.top_logprobs is None:
            raise UserError("train.loss=sad_kl compares the student with the teacher's probabilities, and "
                            "collect.top_logprobs is null: set it (say, to 5) so that the pool keeps them, with a model for "
                            "collect.teacher (the scripted one has none)")

    def _check_pool(self, pool: PoolConfig) -> None:
        if pool.samples is not None and self.select.first > pool.samples:
            raise UserError(f"select.first={self.select.first} asks for more than the {pool.samples} sources of the pool, each "
                            "of which answers a question once; lower first")
        forms = importers.get(pool.format).DIALECTS
        if self.train and not {self.score.dialect, self.train.dialect} <= set(forms):
            raise UserError(f"pool.format={pool.format} is written in {' or '.join(forms)}, and score and train read "
                            f"{self.score.dialect} and {self.train.dialect}; set dialect={forms[0]}")


@dataclass(frozen=True)
class Plan:
    """One experiment's stages."""

    goal: StageSpec
    """The aggregate: its cells are the experiment's row."""
    train: StageSpec | None
    """The adapter; None when the student is evaluated as it is."""
    models: dict[str, str]
    """Local folders of the models it needs, by identity, for Runtime."""
    files: dict[str, str]
    """Where the files it imports are, by SHA-256, for Runtime; those that are not here are left out."""


def plan(experiment: Experiment) -> Plan:
    """The whole pipeline.  Pure but for reading the toy student's and local models' files, and those to import: nothing runs."""
    files: dict[str, str] = {}
    index = {"index": indexed(experiment.corpus, experiment.retrieval)} if experiment.corpus else {}
    train = _train(experiment, index, files) if experiment.train else None
    adapter = {"adapter": train} if train else {}
    grades = {}
    for name in experiment.benchmarks.names():
        questions = {f"questions/{name}": _prepare(experiment, name, experiment.limits.questions)}
        attempts = StageSpec(EVALUATE, _identified(experiment.evaluate),
                             {**questions, **_searched(experiment.evaluate, index), **adapter})
        kind = benchmarks.get(name).KIND
        for which, grader in enumerate(experiment.grade.of(kind)):
            role = f"{name}{SECOND}{grader}" if which else name
            config = config_for(experiment.grade, {name: kind}, which)
            grades[role] = StageSpec(GRADE, config, {**questions, "attempts": attempts})
    return Plan(StageSpec(AGGREGATE, AggregateConfig(), grades), train, _folders(experiment), files)


def _train(experiment: Experiment, index: dict[str, StageSpec], files: dict[str, str]) -> StageSpec:
    """``files`` takes up where those are that are imported."""
    limit = experiment.limits.train_questions
    if experiment.pool:
        config, found = identified(experiment.pool, Path(experiment.data) if experiment.data else None, limit)
        files.update(found)
        pool = StageSpec(IMPORT, config)
        questions = {f"questions/{config.name}": pool}
        kinds = {config.name: experiment.pool.kind}
    else:
        kinds = {name: benchmarks.get(name).KIND for name in experiment.train_sets}
        questions = {f"questions/{name}": _prepare(experiment, name, limit) for name in experiment.train_sets}
        pool = StageSpec(COLLECT, _with_teacher(experiment.collect), {**questions, **_searched(experiment.collect, index)})
    verdicts = StageSpec(GRADE, config_for(experiment.grade, kinds), {**questions, "attempts": pool})
    scores = StageSpec(SCORE, _identified(score.decisive(experiment.score)), {**questions, "pool": pool})
    selected = StageSpec(SELECT, decisive(experiment.select), {"pool": pool, "verdicts": verdicts, "scores": scores})
    return StageSpec(TRAIN, _identified(experiment.train), {**questions, "pool": pool, "selected": selected})


def missing_data(specs: Iterable[StageSpec], runtime: Runtime) -> list[str]:
    """The raw files that ``specs`` read and that are not where ``runtime`` says."""
    specs = list(specs)
    imports = [spec.config for spec in specs if spec.stage is IMPORT and isinstance(spec.config, ImportConfig)]
    absent = [file.name for config in imports for teacher in config.teachers for file in teacher.files
              if file.sha256 not in runtime.files]
    named = [spec.config.benchmark for spec in specs if spec.stage is PREPARE]
    sources = [benchmarks.get(name).SOURCE for name in named if located(name, runtime.data) is None]
    absent += [source.file for source in sources if source]
    files = [file for spec in specs if spec.stage is INDEX for file in files_of(spec.config)]
    return list(dict.fromkeys([*absent, *(f for f in files if not (runtime.data and (runtime.data / f).is_file()))]))


def _prepare(experiment: Experiment, name: str, limit: int | None) -> StageSpec:
    return StageSpec(PREPARE, config_of(name, limit, experiment.golds))


def _searched(config: CollectConfig | EvaluateConfig, index: dict[str, StageSpec]) -> dict[str, StageSpec]:
    """``index`` if the agent searches: a chain of thought does so only for its passages."""
    return index if config.agent != "cot" or config.passages else {}


def _identified(config: Any) -> Any:
    return dataclasses.replace(config, student=models.identify(config.student))


def _with_teacher(config: CollectConfig) -> CollectConfig:
    """The scripted teacher is code, which a stage's version stands for; any other is a model."""
    return config if config.teacher == models.TOY else dataclasses.replace(config, teacher=models.identify(config.teacher))


def _folders(experiment: Experiment) -> dict[str, str]:
    named = {experiment.score.student, experiment.evaluate.student, experiment.collect.teacher}
    if experiment.corpus and experiment.retrieval.method == "dense":
        named.add(experiment.retrieval.embedding.model)
    if experiment.train:
        named.add(experiment.train.student)
    folders = {models.identify(name): name for name in named if name != models.TOY}
    return {identity: name for identity, name in folders.items() if identity.startswith("local/")}


def _known(where: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise UserError(f"{where}={value!r} is unknown; there are {', '.join(sorted(choices))}")
