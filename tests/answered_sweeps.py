"""Sweeps on the toy world whose answers are made up, one by one: questions, attempts and verdicts are real files."""

from collections.abc import Callable
from pathlib import Path

import made_up
from smartad.dialect import render_turn
from smartad.records import write_jsonl
from smartad.stage import Runtime, StageSpec
from smartad.stages import aggregate
from smartad.stages.grade import summary
from smartad.store import Store
from smartad.sweep.ledger import Ledger
from smartad.types import Question, Step, Trajectory, Verdict

QUESTIONS = 20
Right = Callable[[str, int, str, int], bool | None]
"""(label, seed, benchmark, number of the question) -> whether it is right; None: without a verdict."""
BENCHMARKS = {"in_domain": ["toy_math"], "out_of_domain": ["toy_qa3"]}


def attempt(question: str, right: bool | None, thought: str = "I compute.") -> Trajectory:
    """Two steps; the second answers."""
    said = "42" if right else "41"
    final = f"final_answer({said})"
    steps = (Step(render_turn(thought, "print(6 * 7)"), "print(6 * 7)", "Observation:\n42", "ok"),
             Step(render_turn("So.", final), final, "", "final"))
    return Trajectory(question, 0, steps, said, "answered", 10, 0.0)


def declare(store: Store, folder: Path, name: str = "declared", **keys: object) -> tuple[Ledger, list[StageSpec]]:
    """A sweep of which nothing has run."""
    base = {"base": [str(made_up.ROOT / "configs/toy.yaml"), f"benchmarks.in_domain={BENCHMARKS['in_domain']}",
                     f"benchmarks.out_of_domain={BENCHMARKS['out_of_domain']}"]}
    return made_up.launch(store, made_up.declare(folder, name, **{**base, **keys}))


def answer(store: Store, book: Ledger, specs: list[StageSpec], right: Right, by: str = "", attempts: object = attempt,
           text: str = "What is 6 times 7?") -> Ledger:
    """Seal what a table is made of: of each cell, ``right`` says what came out.  A cell that is a KeyError is not finished.
    ``by``: who decided; else who was declared to.  Rows with all their cells are finished, too."""
    at = {spec.fingerprint: spec for spec in specs}
    owner = {f: (trial.label, run.seed) for trial in reversed(book.trials) for run in reversed(trial.runs) for f in run.stages}
    for goal in [at[run.goal] for trial in book.trials for run in trial.runs]:
        for grade in goal.inputs.values():
            benchmark, = grade.config.graders
            ids = [f"{benchmark}/{number}" for number in range(QUESTIONS)]
            try:
                found = [right(*owner[grade.fingerprint], benchmark, number) for number in range(QUESTIONS)]
            except KeyError:
                continue
            questions = [Question(name, text, ("42",)) for name in ids]
            seal(store, grade.inputs[f"questions/{benchmark}"], "questions.jsonl", questions)
            seal(store, grade.inputs["attempts"].inputs["index"], "passages.jsonl", [])
            seal(store, grade.inputs["attempts"], "trajectories.jsonl", list(map(attempts, ids, found)))
            grader = by or grade.config.graders[benchmark]
            seal(store, grade, "verdicts.jsonl", [Verdict(name, 0, one, grader, f"as made up for {name}")
                                                  for name, one in zip(ids, found, strict=True)])
        if all(store.has(grade.fingerprint) for grade in goal.inputs.values()):
            seal(store, goal)
    return book


def seal(store: Store, spec: StageSpec, name: str = "", rows: list | None = None) -> None:
    """A finished stage; an aggregate is really made."""
    with store.claim(spec.fingerprint) as claim:
        if claim is None:
            return
        out, metrics = store.folder(spec.fingerprint), {}
        if rows is not None:
            write_jsonl(out / name, rows)
            metrics = summary(rows) if name == "verdicts.jsonl" else {}
        else:
            inputs = {role: store.folder(parent.fingerprint) for role, parent in spec.inputs.items()}
            metrics = aggregate.run(spec.config, inputs, out, Runtime())
        store.seal(claim, {"fingerprint": spec.fingerprint, "identity": spec.identity, "metrics": metrics, "started": 1.0,
                           "seconds": 1.0, "environment": {"gpus": []}, "trackers": {}, "allotted": {"threads": 1, "gpus": 0}})
