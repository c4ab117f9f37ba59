"""A stage's output on the toy world may change only together with its version.

Where the output is text it is compared as it is; where it is floating point, its metrics are, within what another CPU may
round differently.
"""

import hashlib
import json
from pathlib import Path

import pytest

from conftest import ROOT
from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.config import load
from smartad.experiment import Experiment, plan
from smartad.records import dump_line, read_jsonl
from smartad.stage import Runtime, upstream_first
from smartad.store import Store
from smartad.tracking import Tracking
from smartad.types import Question, Selected, Trajectory, Verdict

GOLDENS = Path(__file__).parent / "goldens.json"
SMALL = ["limits.train_questions=6", "limits.questions=4", "collect.samples=4", "select.first=4", "train.epochs=1"]
COT = ["dialect=cot", "collect.agent=cot", "evaluate.agent=cot", "collect.passages=true", "evaluate.passages=true",
       *(f"{stage}.prompt=toy_cot" for stage in ("collect", "score", "train", "evaluate"))]
METHODS = {"": [], "cot/": COT, "ftp/": ["collect.first_thought=true"],
           "sag/": ["evaluate.candidates=3", "evaluate.temperature=0.4"]}
"""What the names of a method's goldens begin with, and its settings."""
ONLY = {"cot/": "evaluate", "ftp/": "collect", "sag/": "evaluate"}
"""Of these methods so much is run, on one benchmark."""
TEXT = {"prepare": ("questions.jsonl", Question, ()), "collect": ("trajectories.jsonl", Trajectory, ("seconds", "reason")),
        "grade": ("verdicts.jsonl", Verdict, ()), "select": ("selected.jsonl", Selected, ("nll",))}
"""Stage -> its file, its rows, and the fields that are measured and not decided."""
MEASURED = {"index": ("passages",), "score": ("mean_nll", "scored", "tokens"), "train": ("examples", "steps", "first_loss"),
            "evaluate": ("n", "tokens", "step/ok", "step/final"), "aggregate": ("avg",)}
ROUNDING = {"score": {"rel": 1e-3}, "train": {"rel": 1e-3}, "evaluate": {"rel": 0.3, "abs": 1}, "aggregate": {"abs": 9}}
"""How far another CPU may lead a stage: greedy decoding can turn the last digit of a logit into another word, and one
question of the 12 more or less right is 8.3 points of the average."""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("goldens") / "store").open()
    goals = {method: wanted(method, plan(load(Experiment, [str(ROOT / "configs/toy.yaml"), *SMALL, *settings])).goal)
             for method, settings in METHODS.items()}
    executor = connect(ClusterConfig(), Job(store, Runtime(), Tracking(store.root)), jobs=0)
    dispatcher = Dispatcher(store, executor)
    dispatcher.add([spec for specs in goals.values() for spec in specs])
    while dispatcher.open():
        dispatcher.step()
    assert dispatcher.failures == {}
    found, seen = {}, set()
    for method, specs in goals.items():
        for spec in upstream_first(specs):
            of_pool = spec.stage.name != "grade" or "evaluate" not in str(spec.identity["inputs"])
            if spec.fingerprint not in seen and method + spec.stage.name not in found and of_pool:
                found[method + spec.stage.name] = {"version": spec.stage.version, **golden(store, spec)}
        seen |= {spec.fingerprint for spec in upstream_first(specs)}
    return found


def wanted(method, goal):
    """What is run of a method, with all that it needs."""
    return [spec for spec in goal.upstream_first() if spec.stage.name == ONLY[method]][:1] if method in ONLY else [goal]


def golden(store, spec):
    name = spec.stage.name
    if name in TEXT:
        file, row, measured = TEXT[name]
        lines = [{k: v for k, v in json.loads(dump_line(r)).items() if k not in measured}
                 for r in read_jsonl(store.folder(spec.fingerprint) / file, row)]
        return {"sha256": hashlib.sha256(json.dumps(lines, sort_keys=True).encode()).hexdigest()[:16], "rows": len(lines)}
    metrics = store.record(spec.fingerprint)["metrics"]
    return {metric: round(metrics[metric], 4) for metric in MEASURED[name] if metric in metrics}


@pytest.mark.slow
def test_output_changes_only_with_its_version(outputs, request):
    if request.config.getoption("--update-goldens"):
        GOLDENS.write_text(json.dumps(outputs, indent=2) + "\n")
    known = json.loads(GOLDENS.read_text())
    assert outputs.keys() == known.keys()
    for name, now in outputs.items():
        stage = name.rpartition("/")[2]
        same = now.keys() == known[name].keys() and all(
            now[k] == pytest.approx(known[name][k], **ROUNDING[stage]) if stage in ROUNDING else now[k] == known[name][k]
            for k in now if k != "version")
        assert same or now["version"] != known[name]["version"], (
            f"{name} now writes something else: {known[name]} became {now}. If that is meant, raise the version in "
            f"smartad/stages/{stage}.py, then run pytest --update-goldens")
    assert {n: o["version"] for n, o in outputs.items()} == {n: k["version"] for n, k in known.items()}, \
        "a version was raised: run pytest --update-goldens"
