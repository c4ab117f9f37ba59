"""The table guard: whatever a cell came about by, and no row declares, is marked, named and refused when it differs."""

import csv
import io
from importlib import metadata

import pytest

from conftest import ROOT
from small_sweeps import declare, run
from smartad import models
from smartad.analysis.guard import guard
from smartad.cli import main
from smartad.records import read_json, write_json
from smartad.store import Store
from smartad.sweep import ledger

pytestmark = pytest.mark.slow

CHAIN = {"dialect": "cot", "collect.agent": "cot", "evaluate.agent": "cot",
         **{f"{stage}.prompt": "toy_cot" for stage in ("collect", "score", "train", "evaluate")}}
ARMS = {"untrained": {"train": None}, "a": {"train.weights.final": 20}, "b": {"train.weights.final": 30},
        "c": {"train.weights.final": 35}, "chain": {**CHAIN, "train.weights.final": 25},
        "short": {"evaluate.max_steps": 3, "train.weights.final": 35}}
RAN = {"engine": "transformers in this process", "sandbox": "bubblewrap 0.8.0", "retriever": "in-process",
       "prompt": "0123456789ab"}
CELL = ("b", "toy_qa")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A finished sweep of five methods and the untrained student on two benchmarks, whose evaluations noted what real ones do."""
    folder = tmp_path_factory.mktemp("guard")
    store = Store(folder / "store").open()
    sweep = declare(folder, base=[str(ROOT / "configs/toy.yaml"), "benchmarks.out_of_domain=[]"], arms=ARMS, seeds=[0, 1])
    _, dispatcher = run(sweep, store)
    assert dispatcher.failures == {}
    for record in records(store, "evaluate"):
        config = record["identity"]["config"]
        record["ran"] = {name: fact for name, fact in RAN.items()
                         if config["agent"] == "codeact" or name in ("engine", "prompt")}
        if "adapter" in record["identity"]["inputs"]:
            record["ran"]["adapters"] = "merged"
        if config["agent"] == "cot":
            record["ran"]["prompt"] = "ba9876543210"
        write_json(store.folder(record["fingerprint"]) / "record.json", record)
    return store


@pytest.fixture
def store(swept):
    """The same, which a test may change: it is mended afterwards."""
    before = {path: path.read_bytes() for path in swept.root.glob("*/record.json")}
    yield swept
    for path in swept.root.glob("*/record.json"):
        if path not in before:
            path.unlink()
            path.parent.rmdir()
        elif path.read_bytes() != before[path]:
            path.write_bytes(before[path])


def records(store, kind):
    return [store.record(f) for f in store.fingerprints() if f.startswith(f"{kind}-")]


def book(store):
    return ledger.load(store, "declared")


def grade(store, label, benchmark="toy_qa", seed=1):
    """Record of the grade stage behind a cell."""
    trial = next(trial for trial in book(store).trials if trial.label == label)
    goal = next(run.goal for run in trial.runs if run.seed == seed)
    return store.record(store.record(goal)["identity"]["inputs"][benchmark])


def evaluation(store, label):
    """Record of the evaluation that it graded."""
    return store.record(grade(store, label)["identity"]["inputs"]["attempts"])


def change(store, record, *path, to):
    """Write ``record`` with another value at ``path``."""
    *parents, last = path
    place = record
    for key in parents:
        place = place[key]
    if to is None:
        place.pop(last, None)
    else:
        place[last] = to
    write_json(store.folder(record["fingerprint"]) / "record.json", record)


def another_input(store, record, role, **config):
    """Let ``record`` be made from a copy of its input ``role`` with another ``config``."""
    copy = store.record(record["identity"]["inputs"][role])
    copy["fingerprint"] = f"{copy['fingerprint'].partition('-')[0]}-0123456789ab"
    copy["identity"]["config"] |= config
    store.folder(copy["fingerprint"]).mkdir()
    write_json(store.folder(copy["fingerprint"]) / "record.json", copy)
    change(store, record, "identity", "inputs", role, to=copy["fingerprint"])


def of_grade(*path, to):
    return lambda store: change(store, grade(store, "b"), *path, to=to)


def of_evaluation(*path, to):
    return lambda store: change(store, evaluation(store, "b"), *path, to=to)


def of_questions(**config):
    return lambda store: another_input(store, grade(store, "b"), "questions/toy_qa", **config)


def of_index(**config):
    return lambda store: another_input(store, evaluation(store, "b"), "index", **config)


def setting(name, to, usual):
    changed = of_evaluation("identity", "config", *name.split("."), to=to)
    return changed, f"evaluate.{name} {'null' if to is None else to} instead of {usual}"


def minor(package):
    return ".".join(metadata.version(package).split(".")[:2])


CIRCUMSTANCES = {
    "grader": (of_grade("identity", "config", "graders", "toy_qa", to="exact/2"), "grader exact/2 instead of exact/1"),
    "judge": (of_grade("identity", "config", "judge", to="qwen-plus"), "judge qwen-plus instead of null"),
    "second judge": (of_grade("identity", "config", "second_judge", to="gpt"), "second judge gpt instead of null"),
    "version of grading": (of_grade("identity", "version", to=1), "grade.version 1 instead of 2"),
    "content": (of_questions(sha256="c0ffee"), "questions.sha256 c0ffee instead of null"),
    "golds": (of_questions(golds="corrected"), "questions.golds corrected instead of null"),
    "limit": (of_questions(limit=7), "questions.limit 7 instead of 50"),
    "prompt": setting("prompt", "student", "toy"),
    "dialect": setting("dialect", "mint", "paper"),
    "steps, which another row declares": setting("max_steps", 3, 5),
    "temperature": setting("temperature", 0.7, 0),
    "samples": setting("samples", 4, 1),
    "student": setting("student", "other@1", models.identify("toy")),
    "bounds of the code": setting("code.cpu_s", 5, 60),
    "an option that is null elsewhere": setting("top_p", 0.9, "null"),
    "version of evaluation": (of_evaluation("identity", "version", to=1), "evaluate.version 1 instead of 2"),
    "method of the index": (of_index(method="dense"), "index.method dense instead of bm25"),
    "sandbox": (of_evaluation("ran", "sandbox", to=["bubblewrap 0.8.0", "none"]),
                "sandbox bubblewrap 0.8.0, then none instead of bubblewrap 0.8.0"),
    "adapters": (of_evaluation("ran", "adapters", to="many"), "adapters many instead of merged"),
    "retriever": (of_evaluation("ran", "retriever", to="http://node3:8000"), "retriever a server instead of in-process"),
    "text of the prompt": (of_evaluation("ran", "prompt", to="feedfeedfeed"),
                           "text of the prompt feedfeedfeed instead of 0123456789ab"),
    "engine": (of_evaluation("ran", "engine", to="vllm"), "engine vllm instead of transformers in this process"),
    "transformers": (of_evaluation("environment", "packages", "transformers", to="4.57.1"),
                     f"transformers 4.57 instead of {minor('transformers')}"),
    "torch": (of_evaluation("environment", "packages", "torch", to="2.6.0"), f"torch 2.6 instead of {minor('torch')}"),
}


@pytest.mark.parametrize("name", CIRCUMSTANCES)
def test_circumstance_that_differs_alone_is_marked_named_and_refused(store, capsys, name):
    make, said = CIRCUMSTANCES[name]
    make(store)
    found = guard(store, book(store))
    assert found.marks == {CELL: "a"} and found.notes == {"a": f"{said} (toy_qa of b, seed 1)"}
    assert main(["table", "declared", "--store", str(store.root), "--strict"]) == 2
    refused = capsys.readouterr()
    assert refused.out == "" and f"toy_qa of b, seed 1: {said}" in refused.err


def test_what_rows_declare_to_differ_is_not_marked(store, capsys):
    found = guard(store, book(store))
    assert (found.marks, found.notes, found.differences) == ({}, {}, ())
    agents, chains, short = [evaluation(store, label)["identity"] for label in ("b", "chain", "short")]
    assert chains["config"]["agent"] != agents["config"]["agent"] and chains["config"]["prompt"] != agents["config"]["prompt"]
    assert "index" not in chains["inputs"] and short["config"]["max_steps"] != agents["config"]["max_steps"]
    assert main(["table", "declared", "--store", str(store.root), "--strict"]) == 0
    assert "| chain |" in capsys.readouterr().out


def test_row_that_declares_a_setting_is_compared_with_those_that_declare_the_same(store):
    change(store, evaluation(store, "chain"), "identity", "config", "max_tokens", to=7)
    assert guard(store, book(store)).marks == {("chain", "toy_qa"): "a"}


def test_questions_are_compared_even_where_rows_declare_them(store):
    declared = book(store)
    declared.config["arms"]["b"]["limits.questions"] = 7
    another_input(store, grade(store, "b"), "questions/toy_qa", limit=7)
    assert guard(store, declared).marks == {CELL: "a"}


def test_most_frequent_is_what_others_are_measured_by_and_equal_differences_share_a_mark(store):
    for label, benchmark, seeds in (("untrained", "toy_qa", [0]), ("a", "toy_qa", [0, 1]), ("a", "toy_math", [0])):
        for seed in seeds:
            change(store, grade(store, label, benchmark, seed), "identity", "config", "graders", benchmark, to="exact/2")
    change(store, grade(store, "c"), "identity", "config", "graders", "toy_qa", to="exact/3")
    found = guard(store, book(store))
    assert found.marks == {("untrained", "toy_qa"): "a", ("a", "toy_qa"): "a", ("a", "toy_math"): "a", ("c", "toy_qa"): "b"}
    assert found.notes == {
        "a": "grader exact/2 instead of exact/1 (toy_math of a, seed 0; toy_qa of untrained; toy_qa of a)",
        "b": "grader exact/3 instead of exact/1 (toy_qa of c, seed 1)"}


def test_mark_and_what_it_means_are_in_every_form_of_the_table(store, capsys):
    CIRCUMSTANCES["grader"][0](store)
    texts = {}
    for form in ("md", "tex", "html", "terminal", "csv"):
        assert main(["table", "declared", "--store", str(store.root), "--format", form]) == 0
        texts[form] = capsys.readouterr().out
    said = "a: grader exact/2 instead of exact/1 (toy_qa of b, seed 1)"
    assert all(said in texts[form].replace(r"\_", "_") for form in ("md", "tex", "html", "terminal"))
    marks = {"md": "<sup>a</sup>", "tex": r"\textsuperscript{a}", "html": "<sup>a</sup>", "terminal": " (a)"}
    assert {form: texts[form].count(mark) for form, mark in marks.items()} == dict.fromkeys(marks, 1)
    marked = {(row["row"], row["benchmark"]) for row in csv.DictReader(io.StringIO(texts["csv"])) if row["mark"]}
    assert marked == {CELL}


@pytest.mark.parametrize(("make", "remark"), [
    (of_evaluation("environment", "git", to={"commit": "feedbeef0000", "dirty": True}),
     "feedbee with uncommitted changes (1 cells)"),
    (of_evaluation("environment", "packages", "peft", to="0.1"), None),
    (of_evaluation("environment", "host", to="node9"), None),
    (of_evaluation("ran", "in_flight", to=64), None)])
def test_what_changes_no_number_by_itself_is_no_mark_and_a_commit_is_told(store, make, remark):
    make(store)
    found = guard(store, book(store))
    assert found.marks == {} and (remark is None or any(remark in line for line in found.remarks))


def test_cell_whose_grade_is_gone_is_said_not_to_be_compared(store):
    path = store.folder(grade(store, "b")["fingerprint"]) / "record.json"
    content = path.read_bytes()
    path.unlink()
    try:
        found = guard(store, book(store))
    finally:
        path.write_bytes(content)
    assert any(line.startswith("1 cells cannot be compared") for line in found.remarks) and found.marks == {}
    assert read_json(path)
