"""A finished sweep that nobody ran: plans, fingerprints, folders and records are real, their rows are made up.

Every row has an adapter, attempts and verdicts of its own, as a real one has; rows share a pool, and what was selected from it.
Two things are smaller than life: an adapter is a few bytes, and of a benchmark's attempts there are ATTEMPTS different files,
each under many names (hard links).
"""

import json
import os
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from smartad import runner
from smartad.records import dump_line
from smartad.stage import RECORD, Runtime, StageSpec
from smartad.stages.aggregate import SECOND
from smartad.stages.select import run as select
from smartad.store import Store, seen
from smartad.sweep.driver import Driver
from smartad.sweep.space import read
from smartad.types import Cell, Question, ScoredTrajectory, Step, Trajectory, Verdict

BENCHMARKS = {"in_domain": ["hotpotqa", "math500"],
              "out_of_domain": ["musique", "bamboogle", "wiki2qa", "aime", "amc23", "gaokao", "olymmath", "gsm_hard"]}
ARMS = {"agent_distill": {"select.rule": "random", "train.weights": "uniform"},
        "SmartAD": {"select.rule": "min", "train.weights": "smartad"}}
FIRST = [2, 5, 8, 10, 15]
ATTEMPTS = 4
MODEL = "Qwen/Qwen2.5-1.5B-Instruct"
SUBJECTS = ("Algebra", "Geometry", "Number Theory", "Precalculus")


def sweep_file(folder: Path, rows: int, train_questions: int = 200, graders: str = "math_strict") -> Path:
    """A sweep of ``rows``, a multiple of ten: two methods, five K, and learning rates."""
    rates = [round(1e-4 + i * 1e-6, 8) for i in range(rows // (len(ARMS) * len(FIRST)))]
    base = [f"student={MODEL}", "corpus=wiki2", "train_sets=[hotpotqa_train]", f"limits.train_questions={train_questions}",
            *(f"benchmarks.{group}=[{','.join(names)}]" for group, names in BENCHMARKS.items()),
            f"grade.math=[{graders}]", f"collect.teacher={MODEL}"]
    path = folder / f"synthetic{rows}.yaml"
    path.write_text(yaml.safe_dump({"base": base, "arms": ARMS, "space": {"select.first": FIRST, "train.learning_rate": rates}},
                                   sort_keys=False))
    return path


class Maker:
    """Makes a sweep's stages in a store, of so many questions a benchmark.  It remembers what the later ones are made of."""

    def __init__(self, store: Store, questions: int) -> None:
        self.store, self.questions = store, questions
        self.environment = runner.environment()
        self.attempts: dict[tuple[str, int], Path] = {}
        self.cells: dict[str, Cell] = {}

    def sweep(self, declared: Path) -> int:
        """All of a sweep, with its ledger; how many verdicts its table is made of."""
        driver = Driver(read(str(declared)), self.store)
        goals = driver.ask()
        for goal in goals:
            for spec in goal.upstream_first():
                if not self.store.folder(spec.fingerprint).exists():
                    self._make(spec)
        driver.save()
        return len(goals) * sum(map(len, BENCHMARKS.values())) * self.questions

    def _make(self, spec: StageSpec) -> None:
        folder = self.store.folder(spec.fingerprint)
        folder.mkdir()
        inputs = {role: self.store.folder(parent.fingerprint) for role, parent in spec.inputs.items()}
        metrics = getattr(self, spec.stage.name)(spec, inputs, folder, random.Random(spec.fingerprint))
        files = {path.name: seen(path) for path in folder.iterdir()}
        (folder / RECORD).write_text(json.dumps({
            "fingerprint": spec.fingerprint, "identity": spec.identity, "metrics": metrics, "files": files,
            "started": time.time(), "seconds": 1.0, "environment": self.environment, "trackers": {}, "machine": {},
            "ran": {"engine": "none"}, "allotted": {"threads": 1, "gpus": 0}}, sort_keys=True))

    def prepare(self, spec: StageSpec, inputs: Mapping[str, Path], folder: Path, chance: random.Random) -> Mapping[str, Any]:
        name, count = spec.config.benchmark, spec.config.limit or self.questions
        about = [(str(1 + i % 5), SUBJECTS[i % len(SUBJECTS)]) if name == "math500" else (None, None) for i in range(count)]
        _write(folder / "questions.jsonl", [Question(f"{name}/{i}", f"How much is {i} and {chance.randrange(1000)}?", (str(i),),
                                                     *about[i]) for i in range(count)])
        return {"questions": count, "ungradable": 0}

    def index(self, spec: StageSpec, inputs: Mapping[str, Path], folder: Path, chance: random.Random) -> Mapping[str, Any]:
        (folder / "passages.jsonl").write_text("")
        return {"passages": 0}

    def collect(self, spec: StageSpec, inputs: Mapping[str, Path], folder: Path, chance: random.Random) -> Mapping[str, Any]:
        (questions,) = (folder for role, folder in inputs.items() if role.startswith("questions/"))
        rows = [_trajectory(chance, question["id"], sample) for question in _rows(questions / "questions.jsonl")
                for sample in range(spec.config.samples)]
        _write(folder / "trajectories.jsonl", rows)
        return {"n": len(rows), "answered": 1.0, "tokens": sum(row.tokens or 0 for row in rows), "seconds": float(len(rows))}

    def score(self, spec: StageSpec, inputs: Mapping[str, Path], folder: Path, chance: random.Random) -> Mapping[str, Any]:
        rows = [ScoredTrajectory(row["question_id"], row["sample"], (nll := round(chance.uniform(0.1, 2), 4), nll / 2), (60, 40),
                                 (2.0, 1.5), "") for row in _rows(inputs["pool"] / "trajectories.jsonl")]
        _write(folder / "scores.jsonl", rows)
        return {"pool": len(rows), "scored": len(rows), "mean_nll": sum(row.nll for row in rows) / len(rows)}

    def select(self, spec: StageSpec, inputs: Mapping[str, Path], folder: Path, chance: random.Random) -> Mapping[str, Any]:
        return select(spec.config, inputs, folder, Runtime())

    def train(self, spec: StageSpec, inputs: Mapping[str, Path], folder: Path, chance: random.Random) -> Mapping[str, Any]:
        (folder / "adapter.txt").write_text(spec.fingerprint)
        return {"examples": len(_rows(inputs["selected"] / "selected.jsonl")), "first_loss": 1.0, "last_loss": 0.5}

    def evaluate(self, spec: StageSpec, inputs: Mapping[str, Path], folder: Path, chance: random.Random) -> Mapping[str, Any]:
        name = next(role.removeprefix("questions/") for role in inputs if role.startswith("questions/"))
        key = (name, chance.randrange(ATTEMPTS))
        path = folder / "trajectories.jsonl"
        if key in self.attempts:
            os.link(self.attempts[key], path)
        else:
            _write(path, [_trajectory(chance, f"{name}/{i}", 0) for i in range(self.questions)])
            self.attempts[key] = path
        return {"n": self.questions, "answered": 1.0, "tokens": 180 * self.questions, "seconds": 1.0 * self.questions,
                "stop/answered": self.questions, "step/ok": self.questions, "step/final": self.questions}

    def grade(self, spec: StageSpec, inputs: Mapping[str, Path], folder: Path, chance: random.Random) -> Mapping[str, Any]:
        ((name, by),) = spec.config.graders.items()
        asked = [(f"{name}/{i}", 0) for i in range(self.questions)] if name != "hotpotqa_train" else \
            [(row["question_id"], row["sample"]) for row in _rows(inputs["attempts"] / "trajectories.jsonl")]
        share = chance.uniform(0.3, 0.6)
        right = [chance.random() < share for _ in asked]
        _write(folder / "verdicts.jsonl", [Verdict(question, sample, good, by, "" if good else f"'{i}' is not it")
                                           for i, ((question, sample), good) in enumerate(zip(asked, right, strict=True))])
        self.cells[spec.fingerprint] = Cell(name, sum(right), len(right), 0, spec.fingerprint, by)
        return {"correct": sum(right), "n": len(right), "ungraded": 0, "pass@1": 100 * sum(right) / len(right)}

    def aggregate(self, spec: StageSpec, inputs: Mapping[str, Path], folder: Path, chance: random.Random) -> Mapping[str, Any]:
        cells = [self.cells[path.name] for role, path in inputs.items() if SECOND not in role]
        _write(folder / "cells.jsonl", cells)
        _write(folder / "other_cells.jsonl", [self.cells[path.name] for role, path in inputs.items() if SECOND in role])
        scores = {f"pass@1/{cell.benchmark}": cell.percent or 0.0 for cell in cells}
        return {**scores, "avg": sum(scores.values()) / len(scores)}


def _trajectory(chance: random.Random, question: str, sample: int) -> Trajectory:
    number = chance.randrange(10**6)
    search = f"print(web_search('{number}'))"
    first = Step(f"Thought: I search for {number}, and then I shall see.\nCode:\n```py\n{search}\n```<end_code>", search,
                 f"Observation:\nExecution logs:\nWhat is known of {number} is not much.", "ok")
    last = Step(f"Thought: It is {number}.\nCode:\n```py\nfinal_answer({number})\n```<end_code>", f"final_answer({number})",
                f"Observation:\n{number}", "final")
    return Trajectory(question, sample, (first, last), str(number), "answered", 180, 1.0)


def _write(path: Path, rows: Sequence[Any]) -> None:
    path.write_text("".join(map(dump_line, rows)), encoding="utf-8")


def _rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
