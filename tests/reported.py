"""A finished sweep whose questions, steps, verdicts and names mean harm to a page that shows them."""

import json
from pathlib import Path

import made_up
from conftest import ROOT
from smartad.records import append_jsonl, read_jsonl, write_jsonl
from smartad.stage import Runtime, StageSpec
from smartad.stages.grade import summary
from smartad.store import Store
from smartad.sweep.space import Sweep
from smartad.types import Question, ScoredTrajectory, Selected, Step, Trajectory, Verdict

QUESTIONS, SAMPLES = 6, 3
HALF = "HALF-A-CHARACTER"
"""Stands for half a surrogate pair until the file is written: Python cannot write one, files made elsewhere hold them."""
HARM = ("</script><script>window.__pwned=1</script><img src=x onerror=\"window.__pwned=2\"><svg onload=window.__pwned=3>{{7*7}}"
        "{% raw %}<!--<script> javascript:window.__pwned=4 &lt;b&gt; \u202egnp.exe\u0000\u001b[31m $x_1$ " + HALF)
LABEL = "</th><img src=x onerror=\"window.__pwned=5\"> {{7*7}} $a_b$"
LONG = "long" * 25_000


def declare(folder: Path) -> Sweep:
    """Three rows, two seeds, two benchmarks; the harm is in the label of the third row."""
    name = "harm<img src=x onerror=window.__pwned=6>"
    base = [str(ROOT / "configs/toy.yaml"), "benchmarks={in_domain: [toy_math], out_of_domain: [toy_qa3]}",
            f"collect.samples={SAMPLES}", f"select.first={SAMPLES}"]
    return made_up.declare(folder, name, base=base, seeds=[0, 1],
                           arms={"base": {"train": None}, "min": {"select.rule": "min"}, LABEL: {"select.rule": "max"}})


def finish(store: Store, specs: list[StageSpec]) -> None:
    """Make up what ``specs`` have come to."""
    for spec in specs:
        with store.claim(spec.fingerprint) as claim:
            if claim is None:
                continue
            out = store.folder(spec.fingerprint)
            inputs = {role: store.folder(parent.fingerprint) for role, parent in spec.inputs.items()}
            metrics = MADE[spec.stage.name](spec, inputs, out)
            for path in out.glob("*.jsonl"):
                path.write_text(path.read_text().replace(HALF, r"\ud800"))
            store.seal(claim, {"fingerprint": spec.fingerprint, "identity": spec.identity, "metrics": metrics, "started": 1.0,
                               "seconds": 3600.0, "trackers": {}, "allotted": {"threads": 2, "gpus": 1},
                               "ran": {"engine": "made up"},
                               "environment": {"git": {"commit": "c" * 40, "dirty": True}, "gpus": ["Some GPU"]}})


def _prepare(spec, inputs, out):
    name = spec.config.benchmark
    texts = [f"What is {i} + {i} ({name})? {'' if i else HARM}" for i in range(QUESTIONS)]
    write_jsonl(out / "questions.jsonl", [Question(f"{name}/{i}", text, (str(2 * i),)) for i, text in enumerate(texts)])
    return {"questions": QUESTIONS}


def _trajectory(question, sample, answer, stop):
    harm = HARM if question.endswith("/0") else ""
    text = f"Thought: I add {question}.{harm}\nCode:\n```py\nfinal_answer({answer})\n```<end_code>"
    lost = Step("I do not know." + (LONG if question.endswith("/1") else ""), "", "Observation:\nError:\n" + HARM, "parse_error")
    last = Step(text, f"final_answer({answer})", "Observation:\n" + answer, "final")
    answered = stop == "answered"
    return Trajectory(question, sample, (lost, last) if answered and int(answer) % 4 else (last,) if answered else (lost,),
                      answer + harm if answered else None, stop, 10, 1.0)


def _collect(spec, inputs, out):
    pool = [_trajectory(f"toy_train/{i}", sample, str(2 * i), "answered") for i in range(QUESTIONS) for sample in range(SAMPLES)]
    write_jsonl(out / "trajectories.jsonl", pool)
    return {"n": len(pool), "tokens": None}


def _evaluate(spec, inputs, out):
    benchmark = next(role.removeprefix("questions/") for role in spec.inputs if role.startswith("questions/"))
    kind = int(spec.fingerprint[-4:], 16)  # rows answer differently, and each always the same
    rows = []
    for i in range(QUESTIONS):
        share = (kind * (i + 3) // 7) % 5
        stop = "engine_error" if share == 0 and i else "max_steps" if share == 1 and i else "answered"
        rows.append(_trajectory(f"{benchmark}/{i}", 0, str(2 * i + (share > 2)), stop))
    write_jsonl(out / "trajectories.jsonl", rows)
    stops, steps = [row.stop for row in rows], [step.status for row in rows for step in row.steps]
    return {"n": len(rows), "tokens": 60, **{f"stop/{stop}": stops.count(stop) for stop in set(stops)},
            **{f"step/{status}": steps.count(status) for status in set(steps)}}


def _grade(spec, inputs, out):
    golds = {q.id: q.answers[0] for role, folder in inputs.items() if role.startswith("questions/")
             for q in read_jsonl(folder / "questions.jsonl", Question)}
    verdicts = [Verdict(t.question_id, t.sample, None if t.stop == "engine_error" else
                        bool(t.answer and t.answer.partition("<")[0] == golds[t.question_id]), "exact/1",
                        "the engine failed" if t.stop == "engine_error" else f"gold is {golds[t.question_id]}{HARM}")
                for t in read_jsonl(inputs["attempts"] / "trajectories.jsonl", Trajectory)]
    write_jsonl(out / "verdicts.jsonl", verdicts)
    return summary(verdicts)


def _score(spec, inputs, out):
    write_jsonl(out / "scores.jsonl", [ScoredTrajectory(t.question_id, t.sample, tuple(1.0 + t.sample for _ in t.steps),
                                                        tuple(5 for _ in t.steps), tuple(1.0 for _ in t.steps), "")
                                       for t in read_jsonl(inputs["pool"] / "trajectories.jsonl", Trajectory)])
    return {}


def _select(spec, inputs, out):
    sample = 0 if spec.config.rule == "min" else SAMPLES - 1
    write_jsonl(out / "selected.jsonl", [Selected(f"toy_train/{i}", sample, 1.0, SAMPLES) for i in range(QUESTIONS)])
    return {}


def _aggregate(spec, inputs, out):
    return spec.stage.run(spec.config, inputs, out, Runtime())


def _nothing(spec, inputs, out):
    append_jsonl(out / "nothing.jsonl", [])
    return {}


MADE = {"prepare": _prepare, "index": _nothing, "collect": _collect, "grade": _grade, "score": _score, "select": _select,
        "train": _nothing, "evaluate": _evaluate, "aggregate": _aggregate}


def attempts(store: Store, kind: str = "evaluate") -> "dict[tuple[str, str, int], dict]":
    """(stage, question, sample) -> trajectory with its verdict, as they lie in the store."""
    found = {}
    for grade in [f for f in store.fingerprints() if f.startswith("grade-")]:
        stage = store.record(grade)["identity"]["inputs"]["attempts"]
        if stage.startswith(f"{kind}-"):
            rows = [json.loads(line) for line in (store.folder(stage) / "trajectories.jsonl").read_text().splitlines()]
            said = [json.loads(line) for line in (store.folder(grade) / "verdicts.jsonl").read_text().splitlines()]
            found |= {(stage, row["question_id"], row["sample"]): {**row, "verdict": verdict}
                      for row, verdict in zip(rows, said, strict=True)}
    return found
