"""What the store knows of an adapter: how it was made and from what, how good it is, and under which terms."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from smartad import benchmarks, corpora, grading, models, stats, tables
from smartad.benchmarks import Benchmark
from smartad.stages.aggregate import SECOND
from smartad.store import Store
from smartad.types import Cell

Record = Mapping[str, Any]
"""Of a finished stage."""


@dataclass(frozen=True)
class Score:
    """One benchmark of the adapter's row."""

    correct: int
    n: int
    """Graded attempts."""
    ungraded: int
    percent: float | None
    """pass@1; None when nothing was graded."""
    low: float | None
    high: float | None
    """The 95 % Wilson interval of ``percent``."""
    grader: str
    source: str
    """Fingerprint of the grade."""
    questions: int | None = None
    """How many questions the ``n`` attempts are of; None: each of its own."""


@dataclass(frozen=True)
class Origin:
    """A stage that the adapter comes from, or the adapter's own."""

    fingerprint: str
    stage: str
    what: str
    """In a line."""
    finished: float | None = None
    """Seconds since the epoch; None, as all that follows, when the stage is no longer in the store."""
    seconds: float | None = None
    host: str | None = None
    commit: str | None = None
    """Of smartad; with ``+changes`` when they were not committed."""
    versions: Mapping[str, str | None] | None = None


@dataclass(frozen=True)
class About:
    """Everything about one adapter that a person who is given it may ask."""

    fingerprint: str
    base: str
    """The base model's identity (see ``models``)."""
    recipe: Mapping[str, Any]
    """Stage -> its config: train, select, score, collect, import, evaluate (as it was evaluated; None: it never was), index (what
    it searched when it was; None: nothing)."""
    row: Mapping[str, Score]
    """By benchmark, of graders that do not count by ``benchmark@grader``; of adapters that were evaluated in several ways, as in
    the latest."""
    ran: Mapping[str, tuple[str, ...]]
    """Where those evaluations ran, as far as they noted it: ``sandbox`` (the wall) and ``engine``, each with all its values."""
    lineage: tuple[Origin, ...]
    """Inputs before users; the last is the adapter."""
    licences: Mapping[str, str | None]
    """What it was made from -> its licence; None: not known here."""
    datasets: tuple[str, ...]
    """What it learned from, where that is on the model hub."""


def about(store: Store, adapter: str, folders: Mapping[str, str]) -> About:
    """What is on record of a finished train stage.  ``folders``: identity -> folder of local models.

    Raises StoreError when it is not finished.
    """
    train = store.record(adapter)
    upstream = _upstream(store, train)
    latest, row, ran = _row(store, adapter)
    config = train["identity"]["config"]
    recipe = {"train": config, **{name: _config(upstream, name) for name in ("select", "score", "collect", "import")},
              "evaluate": latest and latest["identity"]["config"],
              "index": latest and _index(store, latest["identity"]["inputs"].get("index"))}
    sets = [role.removeprefix("questions/") for role in train["identity"]["inputs"] if role.startswith("questions/")]
    lineage = tuple(_origin(fingerprint, record) for fingerprint, record in upstream.items())
    licences = _licences(config["student"], recipe["collect"], sets, (recipe["index"], _config(upstream, "index")), folders)
    sources = [module.SOURCE for name in sets if (module := _benchmark(name))]
    datasets = {source.dataset for source in sources if source and source.dataset}
    return About(adapter, config["student"], recipe, row, ran, lineage, licences, tuple(sorted(datasets)))


def _upstream(store: Store, record: Record) -> dict[str, Record | None]:
    """Fingerprint -> record, inputs before users; None of what is no longer there."""
    return {f: store.record(f) if store.has(f) else None for f in store.upstream([record["fingerprint"]])}


def _config(upstream: Mapping[str, Record | None], stage: str) -> dict[str, Any] | None:
    return next((record["identity"]["config"] for record in upstream.values() if record and record["identity"]["stage"] == stage),
                None)


def _index(store: Store, fingerprint: str | None) -> dict[str, Any] | None:
    config: dict[str, Any] | None = store.record(fingerprint)["identity"]["config"] if fingerprint else None
    return config


def _row(store: Store, adapter: str) -> tuple[Record | None, dict[str, Score], dict[str, tuple[str, ...]]]:
    """The latest evaluation, what was scored in that way, and where that ran."""
    evaluations = [r for f in store.fingerprints() if f.startswith("evaluate-")
                   and (r := store.record(f))["identity"]["inputs"].get("adapter") == adapter]
    if not evaluations:
        return None, {}, {}
    latest = max(evaluations, key=lambda record: record["started"])
    alike = {record["fingerprint"]: record for record in evaluations
             if record["identity"]["config"] == latest["identity"]["config"]
             and record["identity"]["inputs"].get("index") == latest["identity"]["inputs"].get("index")}
    row = {}
    second = _second_graders(store)
    grades = [store.record(f) for f in store.fingerprints() if f.startswith("grade-")]
    for grade in sorted(grades, key=lambda record: record["started"]):
        if evaluation := alike.get(grade["identity"]["inputs"]["attempts"]):
            role = next(role for role in evaluation["identity"]["inputs"] if role.startswith("questions/"))
            name = role.removeprefix("questions/")
            row[second.get(grade["fingerprint"], name)] = _score(grade)
    return latest, dict(sorted(row.items())), _ran(alike.values())


def _second_graders(store: Store) -> dict[str, str]:
    """Grade stages whose verdicts no table counts, with what tables call them: ``math500@math_paper``."""
    roles = [(fingerprint, role) for f in store.fingerprints() if f.startswith("aggregate-")
             for role, fingerprint in store.record(f)["identity"]["inputs"].items()]
    counted = {fingerprint for fingerprint, role in roles if SECOND not in role}
    return {fingerprint: role for fingerprint, role in roles if fingerprint not in counted}


def _ran(evaluations: Collection[Record]) -> dict[str, tuple[str, ...]]:
    def values(name: str) -> Iterator[str]:
        for record in evaluations:
            noted = record.get("ran", {}).get(name, [])
            yield from noted if isinstance(noted, list) else [noted]

    return {name: tuple(dict.fromkeys(values(name))) for name in ("sandbox", "engine")}


def _score(grade: Record) -> Score:
    metrics = grade["metrics"]
    questions = metrics.get("questions")
    cell = Cell("", int(metrics["correct"]), int(metrics["n"]), int(metrics["ungraded"]), grade["fingerprint"], _graders(grade),
                None if questions is None else int(questions), metrics.get("pass@1"))
    low, high = stats.wilson(*cell.draws) if cell.n else (None, None)
    return Score(cell.correct, cell.n, cell.ungraded, cell.percent, low, high, cell.grader, cell.source, cell.questions)


def _graders(grade: Record) -> str:
    config = grade["identity"]["config"]
    return ", ".join(dict.fromkeys(grading.signature(grader, grading.Setup(config.get("judge")))
                                   for grader in config["graders"].values()))


def _origin(fingerprint: str, record: Record | None) -> Origin:
    if record is None:
        return Origin(fingerprint, fingerprint.rpartition("-")[0], "no longer in the store that this was pulled from")
    environment = record["environment"]
    git = environment.get("git")
    commit = f"{git['commit']}{'+changes' if git['dirty'] else ''}" if git else None
    versions = {"python": environment.get("python"), "smartad": environment.get("smartad"), **environment.get("packages", {})}
    return Origin(fingerprint, record["identity"]["stage"], _in_a_line(record), record["started"] + record["seconds"],
                  record["seconds"], environment.get("host"), commit, versions)


def _in_a_line(record: Record) -> str:
    config, metrics = record["identity"]["config"], record["metrics"]

    def metric(name: str) -> str:
        return tables.HOLE if metrics.get(name) is None else f"{metrics[name]:.4g}"

    def counted(*names: str) -> str:
        return ", ".join(f"{metric(name)} {name}" for name in names)

    match record["identity"]["stage"]:
        case "prepare":
            return f"{config['benchmark']}: {counted('questions')}"
        case "index":
            return f"{config['corpus']}, {config['method']}: {counted('passages')}"
        case "import":
            return f"{config['name']}, format {config['format']}: {counted('n', 'quarantined')} of {metric('rows')} rows"
        case "collect":
            return f"teacher {config['teacher']}, {config['samples']} samples a question: {metric('n')} trajectories"
        case "grade":
            return f"grader {_graders(record)}: {metric('correct')} of {metric('n')} right, {counted('ungraded')}"
        case "score":
            return f"NLL under {config['student']}: {counted('scored')}, mean {metric('mean_nll')} nats per token"
        case "select":
            return (f"rule {config['rule']} of the first {config['first']}: {metric('selected')} of {counted('questions')}, "
                    f"mean NLL {metric('mean_nll')}")
        case "train":
            return f"{counted('examples', 'steps')}, loss {metric('first_loss')} to {metric('last_loss')}"
    return ", ".join(f"{name} {metric(name)}" for name in list(metrics)[:3])


def _licences(base: str, collect: Mapping[str, Any] | None, sets: Iterable[str], indices: Iterable[Mapping[str, Any] | None],
              folders: Mapping[str, str]) -> dict[str, str | None]:
    found = {f"base model {base}": models.licence(base, folders)}
    if collect:
        found[f"teacher {collect['teacher']}"] = models.licence(collect["teacher"], folders)
    for name in sets:
        module = _benchmark(name)
        found[f"questions of {name}"] = benchmarks.licence(module) if module else None
    used = [index for index in indices if index]
    for model in dict.fromkeys(index["embedding"]["model"] for index in used if index.get("embedding")):
        found[f"retriever {model}"] = models.licence(model, folders)
    for name in dict.fromkeys(index["corpus"] for index in used):
        found[f"passages of {name}"] = benchmarks.licence(corpora.get(name)) if name in corpora.names() else None
    return found


def _benchmark(name: str) -> Benchmark | None:
    """None for one that this smartad has not."""
    return benchmarks.get(name) if name in benchmarks.names() else None
