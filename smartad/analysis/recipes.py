"""A row's experiment, got back from what its stages have on record: the inverse of ``experiment.plan``."""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from smartad import benchmarks, corpora, grading, models
from smartad.agents.limits import CodeLimits
from smartad.config import from_mapping
from smartad.engines.retrieval.recipe import Bm25, Embedding, Vectors
from smartad.experiment import Experiment
from smartad.fingerprint import differences
from smartad.stage import StageSpec
from smartad.stages.aggregate import SECOND
from smartad.stages.collect import CollectConfig
from smartad.stages.evaluate import EvaluateConfig
from smartad.stages.score import ScoreConfig
from smartad.stages.select import SelectConfig
from smartad.stages.train import TrainConfig
from smartad.store import Store, StoreError
from smartad.sweep.ledger import Ledger, Run
from smartad.types import Kind

Identity = Mapping[str, Any]
"""Stage, version, config, and inputs: role -> fingerprint."""


def recipe_of(store: Store, book: Ledger, run: Run, folders: Mapping[str, str]) -> dict[str, Any]:
    """What an experiment's YAML file must say to be ``run`` of ``book``, for the smartad that made it and for today's: all that
    is on record, and nothing that was not there yet.

    ``folders``: where local models are, by identity; one that is not among them stays the name that nobody can load.  Raises
    StoreError when the run is not finished.
    """
    if missing := [stage for stage in run.stages if not store.has(stage)]:
        raise StoreError(f"{len(missing)} of the {len(run.stages)} stages of this row are not finished in {store.root} "
                         f"({', '.join(missing[:3])}, ...): what is not on record cannot be made again")
    return {"seed": run.seed, **_Row(store, run, folders).experiment(book)}


def experiment_of(recipe: Mapping[str, Any], data: str | None = None) -> Experiment:
    """``recipe`` as today's smartad reads it.  ``data``: the folder of the benchmark files.

    Raises ConfigError for what it refuses.
    """
    return from_mapping(Experiment, {**recipe, "data": data}, "what is on record")


class _Row:
    """A finished run's identities, and where local models are."""

    def __init__(self, store: Store, run: Run, folders: Mapping[str, str]) -> None:
        self.run, self.folders = run, folders
        self.identities = {stage: store.record(stage)["identity"] for stage in run.stages}

    def experiment(self, book: Ledger) -> dict[str, Any]:
        names = [name for group in book.groups.values() for name in group]
        grades = {role: self.identities[grade] for role, grade in self.inputs(self.run.goal).items()}
        evaluate = self.identities[grades[names[0]]["inputs"]["attempts"]]
        prepared = [self.identities[grades[name]["inputs"][f"questions/{name}"]]["config"] for name in names]
        student = self.named(evaluate["config"]["student"])
        learnt: dict[str, Any] = {"train": None}
        if "adapter" in evaluate["inputs"]:
            learnt = self.learnt(evaluate["inputs"]["adapter"])
        pool = [config for config in self.configs("grade") if set(config["graders"]) - set(names)]
        golds = {config.get("golds") for config in self.configs("prepare")} - {None}
        limits = {"questions": prepared[0].get("limit"), **learnt.pop("limits", {})}
        return {"student": student, **self.searched(), **({"golds": golds.pop()} if golds else {}),
                "limits": {name: limit for name, limit in limits.items() if limit is not None},
                "benchmarks": {"in_domain": book.groups["In-domain"], "out_of_domain": book.groups["Out-of-domain"]},
                "grade": self.graders(grades, pool, learnt.get("pool")),
                "evaluate": self.agent(EvaluateConfig, evaluate), **learnt}

    def inputs(self, stage: str) -> dict[str, str]:
        """Role -> fingerprint, in the order in which they were planned; a record has them in that of their names."""
        planned = self.run.inputs()[stage]
        return dict(sorted(self.identities[stage]["inputs"].items(), key=lambda pair: planned.index(pair[1])))

    def configs(self, stage: str) -> Iterator[Mapping[str, Any]]:
        return (identity["config"] for identity in self.identities.values() if identity["stage"] == stage)

    def named(self, identity: str) -> str:
        """A model as an experiment calls it."""
        return models.TOY if identity.partition("@")[0] == models.TOY else self.folders.get(identity, identity)

    def agent(self, schema: type[Any], identity: Identity) -> dict[str, Any]:
        given = _spelt(schema, identity["config"])
        return {**given, **{key: self.named(given[key]) for key in ("student", "teacher") if key in given},
                "code": _spelt(CodeLimits, identity["config"]["code"])}

    def searched(self) -> dict[str, Any]:
        """What the index says; without one nothing was searched."""
        of = {identity["inputs"]["index"] for identity in self.identities.values() if "index" in identity["inputs"]}
        if not of:
            return {"corpus": None}
        config = self.identities[of.pop()]["config"]
        parts = {name: _spelt(schema, config[name]) for name, schema in
                 (("bm25", Bm25), ("embedding", Embedding), ("vectors", Vectors)) if name in config}
        if "embedding" in parts:
            parts["embedding"]["model"] = self.named(parts["embedding"]["model"])
        pin = {"sha256": config["sha256"]} if "sha256" in config and corpora.get(config["corpus"]).SOURCE else {}
        return {"corpus": config["corpus"], "retrieval": {"method": config["method"], **pin, **parts}}

    def learnt(self, train: str) -> dict[str, Any]:
        """Everything that led to the adapter."""
        inputs = self.inputs(train)
        selected = self.identities[inputs["selected"]]
        score = self.identities[selected["inputs"]["scores"]]
        source = self.identities[inputs["pool"]]
        config = self.identities[train]["config"]
        found = {"train": {**_spelt(TrainConfig, config), "student": self.named(config["student"])},
                 "select": _spelt(SelectConfig, selected["config"]),
                 "score": {**_spelt(ScoreConfig, score["config"]), "student": self.named(score["config"]["student"])}}
        if source["stage"] == "import":
            return {**found, **self.imported(source["config"])}
        sets = {role.removeprefix("questions/"): self.identities[stage]["config"]
                for role, stage in self.inputs(inputs["pool"]).items() if role.startswith("questions/")}
        return {**found, "collect": self.agent(CollectConfig, source), "train_sets": list(sets),
                "limits": {"train_questions": next(iter(sets.values())).get("limit")}}

    def imported(self, config: Mapping[str, Any]) -> dict[str, Any]:
        sources = [{"files": [f"{file['name']}@{file['sha256']}" for file in teacher["files"]], "teacher": teacher["name"]}
                   for teacher in config["teachers"]]
        (by,) = [next(iter(grade["graders"].values())) for grade in self.configs("grade") if config["name"] in grade["graders"]]
        pool = {"format": config["format"], "sources": sources, "name": config["name"],
                "kind": grading.get(by.partition("/")[0]).KINDS[0], "refuse": list(config.get("refuse", ()))}
        return {"pool": pool, "limits": {"train_questions": config.get("limit")}}

    def graders(self, grades: Mapping[str, Identity], pools: list[Mapping[str, Any]], imported: Mapping[str, Any] | None
                ) -> dict[str, Any]:
        """Of each kind of question, its graders in their order; of kinds that the row has none of, as they come."""
        found: dict[str, list[str]] = {}
        for role, grade in grades.items():
            name, _, second = role.partition(SECOND)
            of_kind = found.setdefault(benchmarks.get(name).KIND, [])
            grader = second or _grader(grade["config"], name)
            if grader not in of_kind:
                of_kind.append(grader)
        for config in pools:
            for name in config["graders"]:
                kind: Kind = imported["kind"] if imported else benchmarks.get(name).KIND
                found.setdefault(kind, [_grader(config, name)])
        judges = {key: config[key] for config in [*(g["config"] for g in grades.values()), *pools]
                  for key in ("judge", "second_judge") if key in config}
        return {**found, **judges}


def _grader(config: Mapping[str, Any], name: str) -> str:
    return str(config["graders"][name]).partition("/")[0]


def _spelt(schema: type[Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """``recorded``, and None of what it leaves out: that was None, whatever a config comes with.  Where it comes with None, that
    need not be said, and the option may be younger than the record."""
    hints = typing.get_type_hints(schema)
    left_out = [f.name for f in dataclasses.fields(schema)
                if f.name not in recorded and f.default is not None and _may_be_none(hints[f.name])]
    return {**recorded, **dict.fromkeys(left_out)}


def _may_be_none(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint)


def parted(store: Store, goal: StageSpec, recorded: str) -> list[str]:
    """Where today's plan of a row is another than the recorded one, the furthest upstream first; empty when it is the same."""
    planned = {spec.fingerprint: spec.identity for spec in goal.upstream_first()}
    return reasons(lambda stage: planned.get(stage) or store.record(stage)["identity"], recorded, goal.fingerprint)


def reasons(identity: Callable[[str], Identity], a: str, b: str, at: str = "") -> list[str]:
    """Where two stages' identities part, the furthest upstream first: ``select.rule: 'min' -> 'max'``.

    Raises StoreError when they are of different kinds to begin with.
    """
    if a == b:
        return []
    first, second = identity(a), identity(b)
    if first["stage"] != second["stage"]:
        if at:
            return [f"{at}: {first['stage']} -> {second['stage']}"]
        raise StoreError(f"{a} and {b} are different stages: there is nothing to compare")
    upstream, one, other = [], first["inputs"], second["inputs"]
    for role in sorted(one.keys() | other.keys()):
        where = f"{first['stage']}.inputs.{role}"
        if role in one and role in other:
            upstream += reasons(identity, one[role], other[role], where)
        else:
            upstream.append(f"{where}: {one.get(role)} -> {other.get(role)}")
    own = differences({"version": first["version"], **first["config"]}, {"version": second["version"], **second["config"]})
    return list(dict.fromkeys([*upstream, *(f"{first['stage']}.{line}" for line in own)]))
