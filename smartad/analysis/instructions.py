"""What somebody needs who wants to make a row again: code, environment, experiment, commands, and what to know first."""

import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from smartad import models
from smartad.analysis.arms import Spot
from smartad.analysis.likeness import REPEATABLE
from smartad.analysis.recipes import experiment_of, parted, recipe_of
from smartad.experiment import Plan, missing_data, plan
from smartad.redact import redact
from smartad.stage import Runtime
from smartad.store import Store
from smartad.types import UserError

Records = Mapping[str, Mapping[str, Any]]
"""Fingerprint -> record."""


@dataclass(frozen=True)
class Instructions:
    """How to make a row again."""

    plan: Plan
    """What today's smartad makes of it."""
    parted: tuple[str, ...]
    """Where that is not what is on record; empty when the fingerprints are the same."""
    lacking: tuple[str, ...]
    """Local models that nobody has said the folder of, by identity."""
    notes: tuple[str, ...]
    """What cannot be had from the files alone."""
    files: Mapping[str, str]
    """experiment.yaml, requirements.txt, commands.sh."""


def instructions(store: Store, spot: Spot, folders: Mapping[str, str], data: str | None,
                 grader: str | None = None) -> Instructions:
    """Of the row that ``spot`` is in.  ``folders``: where local models are, by identity.  ``grader``: by whose verdicts the
    cell is looked at, when not by those that count.

    Raises StoreError when the row is not finished, UserError when today's smartad refuses its experiment.
    """
    run = spot.run
    recipe = recipe_of(store, spot.arm.book, run, folders)
    try:
        experiment = experiment_of(recipe, data)
        planned = plan(experiment)
    except UserError as error:
        commits = ", ".join(_commits({stage: store.record(stage) for stage in run.stages}))
        raise UserError(f"{spot.name} was made by {commits or 'a smartad of which no commit is on record'}, and this smartad "
                        f"refuses its experiment: {error}") from error
    records = {stage: store.record(stage) for stage in run.stages}
    wanted = missing_data(planned.goal.upstream_first(), Runtime())
    files = {"experiment.yaml": _yaml(spot, {**recipe, **({"data": data} if data else {})}),
             "requirements.txt": _requirements(records),
             "commands.sh": _commands(spot, records, bool(wanted and not data), grader)}
    notes = [*_notes_of_code(records), *_notes_of_models(folders, records), *_notes_of_data(planned, wanted),
             *_notes_of_engines(records)]
    lacking = tuple(name for name in _named(records) if name.startswith("local/") and name not in folders)
    return Instructions(planned, tuple(parted(store, planned.goal, run.goal)), lacking, tuple(notes), files)


def _yaml(spot: Spot, recipe: Mapping[str, Any]) -> str:
    # A label may hold line breaks, and what comes after one is no comment any more.
    head = f"# The whole experiment of {json.dumps(spot.arm.name)}, seed {spot.run.seed}: row {spot.run.goal}.\n"
    return head + yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)


def _commits(records: Records) -> Counter[str]:
    """Commit -> how many stages it made, the most first."""
    found = Counter(git["commit"] for record in records.values() if (git := record["environment"].get("git")))
    return Counter(dict(found.most_common()))


def _newest(records: Records) -> Mapping[str, Any]:
    """Of the stages that somebody's code made from a checkout, the environment of the last; of the last one where none was."""
    checked_out = [record for record in records.values() if record["environment"].get("git")]
    last = max(checked_out or records.values(), key=lambda record: record["started"])
    return dict(last["environment"])


def _requirements(records: Records) -> str:
    newest, versions = _newest(records), defaultdict[str, set[str | None]](set)
    for record in records.values():
        for name, version in record["environment"]["packages"].items():
            versions[name].add(version)
    lines = [f"# What the row was made with, Python {newest['python']} on {newest['platform']}.  A version like 2.0+cpu is",
             "# a build of its own; where that is not to be had, the same number without its end is the nearest."]
    for name, version in newest["packages"].items():
        others = sorted(str(v or "none") for v in versions[name] - {version})
        if others:
            lines.append(f"# other stages: {name} {', '.join(others)}")
        if version is not None:
            lines.append(f"{name}=={version}")
    return "\n".join([*lines, ""])


def walk_again(spot: Spot, grader: str | None) -> str:
    """What follows ``smartad`` to walk the cell where the row was made again, for a shell."""
    by = ["--grader", grader] if grader else []
    return shlex.join(["walk", f"run-{spot.run.goal.rpartition('-')[2]}:this run/{spot.benchmark}", *by])


def _commands(spot: Spot, records: Records, data: bool, grader: str | None) -> str:
    commit = (_newest(records).get("git") or {}).get("commit")
    python = ".".join(_newest(records)["python"].split(".")[:2])
    where = " data=\"${DATA:?name the folder of the benchmark files: DATA=FOLDER sh commands.sh}\"" if data else ""
    return "\n".join([
        "#!/bin/sh", f"# Makes {json.dumps(spot.name)} again.",
        "# Run it in a checkout of smartad; what it makes lies beside this file.",
        "set -eu",
        'here=$(cd "$(dirname "$0")" && pwd)',
        f"git checkout {shlex.quote(commit)}" if commit else "# No commit is on record: see the notes.",
        f'{shlex.quote(f"python{python}")} -m venv "$here/venv"', '"$here/venv/bin/pip" install -r "$here/requirements.txt" -e .',
        f'"$here/venv/bin/python" -m smartad run "$here/experiment.yaml"{where} --store "$here/store"',
        f'"$here/venv/bin/python" -m smartad {walk_again(spot, grader)} --store "$here/store"', ""])


def _notes_of_code(records: Records) -> Iterator[str]:
    dirty = [stage for stage, record in records.items() if (record["environment"].get("git") or {}).get("dirty")]
    if dirty:
        yield (f"UNCOMMITTED CHANGES: {len(dirty)} of {len(records)} stages ran code that no commit holds ({_some(dirty)}). What "
               "was changed is not on record, so the commit alone may make something else")
    if bare := [stage for stage, record in records.items() if not record["environment"].get("git")]:
        versions = sorted({str(records[stage]["environment"].get("smartad")) for stage in bare})
        yield (f"no commit is on record for {len(bare)} stages ({_some(bare)}): they ran an installed smartad "
               f"{', '.join(versions)}")
    commits = _commits(records)
    if len(commits) > 1:
        yield ("several commits made it, and commands.sh takes the last: "
               + ", ".join(f"{commit[:12]} {count} stages" for commit, count in commits.items()))


def _named(records: Records) -> list[str]:
    """The models that had a part in it, by identity."""
    configs = [record["identity"]["config"] for record in records.values()]
    embedding = [config["embedding"]["model"] for config in configs if "embedding" in config]
    asked = [config[key] for config in configs for key in ("student", "teacher") if key in config]
    return list(dict.fromkeys([*asked, *embedding]))


def _notes_of_models(folders: Mapping[str, str], records: Records) -> Iterator[str]:
    for name in _named(records):
        if name.startswith("local/"):
            here = folders.get(name)
            yield (f"model {name}, a folder by its name and a hash of what is in it, "
                   + (f"is {here}" if here else "is not known here: give --model FOLDER"))
        elif name.partition("@")[0] != models.TOY and "@" not in name:
            yield f"model {name} has no revision on record: the hub may have another one of that name by now"


def _notes_of_data(planned: Plan, wanted: list[str]) -> Iterator[str]:
    pins = {str(spec.config.benchmark): spec.config.sha256 for spec in planned.goal.upstream_first()
            if spec.stage.name == "prepare" and spec.config.sha256}
    if wanted:
        yield f"files below data=FOLDER: {', '.join(wanted)}"
    if pins:
        yield "questions and golds, whose content is checked: " + ", ".join(f"{name} sha256 {pin}" for name, pin in pins.items())


def _notes_of_engines(records: Records) -> Iterator[str]:
    ran: dict[str, list[str]] = defaultdict(list)
    for stage, record in records.items():
        facts = {key: value for key, value in record.get("ran", {}).items() if key.startswith("engine") or key == "judge"}
        if facts.get("engine", REPEATABLE[0]) not in REPEATABLE or "judge" in facts:
            ran[redact(", ".join(f"{key} {value}" for key, value in facts.items()))].append(stage)
    for what, stages in ran.items():
        yield f"{_some(stages)} asked a server ({what}): give a site profile that has one, with --cluster FILE"
    gpus = sorted({gpu for record in records.values() for gpu in record["environment"].get("gpus", [])})
    if gpus:
        yield f"made on {', '.join(gpus)}: another GPU, or another number of them, can part in the last digits"


def _some(stages: list[str]) -> str:
    return ", ".join(stages[:3]) + (f" and {len(stages) - 3} more" if len(stages) > 3 else "")
