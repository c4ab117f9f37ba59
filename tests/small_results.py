"""Finished sweeps whose outputs are made up: plan, configs, ledger and aggregates are real, and no model is asked anything.

What a row's attempts come to is drawn from its fingerprints, so that no two rows and no two questions are alike by accident.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from smartad import dialect
from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Metrics, Runtime, StageSpec, upstream_first
from smartad.stages.episodes import summary
from smartad.stages.grade import summary as graded
from smartad.store import Store
from smartad.sweep import ledger
from smartad.sweep.driver import Driver
from smartad.sweep.ledger import Ledger
from smartad.sweep.space import read
from smartad.types import Question, ScoredTrajectory, Selected, Step, Trajectory, Verdict

QUESTIONS, SAMPLES = 24, 6
LEVELS = ("1", "2", "3", "4", "5")
SUBJECTS = ("Algebra", "Geometry", "Counting & Probability")
STATUSES = ("ok", "ok", "ok", "parse_error", "exec_error", "timeout")
ROOT = Path(__file__).parent.parent


def run(store: Store, folder: Path, name: str = "declared", unfinished: Callable[[str], bool] = lambda label: False,
        overrides: Sequence[str] = (), **keys: Any) -> Ledger:
    """A sweep of the toy world with ``keys``, finished but for the rows whose labels are ``unfinished``."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"base": [str(ROOT / "configs/toy.yaml"), *overrides], **keys}, sort_keys=False))
    driver = Driver(read(str(path)), store)
    driver.ask()
    driver.save()
    book = ledger.load(store, name)
    wanted = {f for trial in book.trials if not unfinished(trial.label) for one in trial.runs for f in one.stages}
    finish(store, [spec for spec in upstream_first(driver.goals()) if spec.fingerprint in wanted])
    return book


def finish(store: Store, specs: Iterable[StageSpec]) -> None:
    """Seal an output of each, upstream first."""
    for spec in specs:
        with store.claim(spec.fingerprint) as claim:
            if claim:
                inputs = {role: store.folder(parent.fingerprint) for role, parent in spec.inputs.items()}
                metrics = BODIES.get(spec.stage.name, _nothing)(spec, inputs, store.folder(spec.fingerprint))
                store.seal(claim, {"fingerprint": spec.fingerprint, "identity": spec.identity, "metrics": metrics, "started": 1.0,
                                   "seconds": 2.0, "environment": {"gpus": []}, "trackers": {}, "allotted": {}})


def _prepare(spec: StageSpec, inputs: dict[str, Path], out: Path) -> Metrics:
    name = spec.config.benchmark
    write_jsonl(out / "questions.jsonl", [
        Question(f"{name}/{i}", f"What is {i}?", (str(i),), **({"level": LEVELS[i % 5], "subject": SUBJECTS[i % 3]}
                                                                  if name == "toy_math" else {})) for i in range(QUESTIONS)])
    return {"questions": QUESTIONS}


def _attempts(spec: StageSpec, inputs: dict[str, Path], out: Path) -> Metrics:
    """Half of the steps search, some twice; of a chain of thought there is one step, without code."""
    chance = random.Random(spec.fingerprint)
    name = next(role.removeprefix("questions/") for role in inputs if role.startswith("questions/"))
    samples = spec.config.samples
    acts = dialect.DIALECTS[spec.config.dialect].acts
    rows = [_attempt(chance, f"{name}/{i}", sample, acts) for i in range(QUESTIONS) for sample in range(samples)]
    write_jsonl(out / "trajectories.jsonl", rows)
    return summary(rows)


def _attempt(chance: random.Random, question: str, sample: int, acts: bool) -> Trajectory:
    tokens = chance.randrange(40, 400)
    if not acts:
        return Trajectory(question, sample, (Step("I think so.", "", "", "final"),), "1", "answered", tokens, 1.0)
    steps = []
    for _ in range(chance.randrange(1, 4)):
        status = chance.choice(STATUSES)
        code = chance.choice(["print(web_search('a'))", "a = web_search('a')\nb = web_search(a)", "# web_search('a')", "1 +"])
        steps.append(Step(f"Thought\n{code}", "" if status == "parse_error" else code, "", status))
    steps.append(Step("final", "final_answer(1)", "", "final"))
    return Trajectory(question, sample, tuple(steps), "1", "answered", tokens, 1.0)


def _scores(spec: StageSpec, inputs: dict[str, Path], out: Path) -> Metrics:
    chance = random.Random(spec.fingerprint)
    name = next(role.removeprefix("questions/") for role in inputs if role.startswith("questions/"))
    samples = spec.inputs["pool"].config.samples
    write_jsonl(out / "scores.jsonl", [ScoredTrajectory(f"{name}/{i}", sample, (chance.uniform(0, 3),), (10,), (1.0,), "")
                                       for i in range(QUESTIONS) for sample in range(samples)])
    return {}


def _verdicts(spec: StageSpec, inputs: dict[str, Path], out: Path) -> Metrics:
    """A share of right answers that is a row's own; now and then an answer that nobody could grade."""
    chance = random.Random(spec.fingerprint)
    share = chance.uniform(0.2, 0.9)
    name = next(role.removeprefix("questions/") for role in inputs if role.startswith("questions/"))
    samples = spec.inputs["attempts"].config.samples
    rows = [Verdict(f"{name}/{i}", sample, None if chance.random() < 0.05 else chance.random() < share, "exact/1", "")
            for i in range(QUESTIONS) for sample in range(samples)]
    write_jsonl(out / "verdicts.jsonl", rows)
    return graded(rows)


def _select(spec: StageSpec, inputs: dict[str, Path], out: Path) -> Metrics:
    first = spec.config.first
    questions = dict.fromkeys(row.question_id for row in read_jsonl(inputs["scores"] / "scores.jsonl", ScoredTrajectory))
    selected = [Selected(question, i % first, 1.0, first) for i, question in enumerate(list(questions)[12 // first:])]
    write_jsonl(out / "selected.jsonl", selected)
    return {"questions": QUESTIONS, "selected": len(selected), "coverage": len(selected) / QUESTIONS}


def _real(spec: StageSpec, inputs: dict[str, Path], out: Path) -> Metrics:
    return spec.stage.run(spec.config, inputs, out, Runtime())


def _nothing(spec: StageSpec, inputs: dict[str, Path], out: Path) -> Metrics:
    return {}


BODIES: dict[str, Callable[[StageSpec, dict[str, Path], Path], Metrics]] = {
    "prepare": _prepare, "collect": _attempts, "evaluate": _attempts, "score": _scores, "grade": _verdicts, "select": _select,
    "aggregate": _real}
