"""The main job as a person runs it, once, and everything that is done with its results."""

import csv
import io
import json
import re

import pytest

from command import QUICKSTART, smartad
from conftest import ROOT
from smartad import models
from smartad.store import Store
from smartad.sweep import ledger, results

pytestmark = pytest.mark.slow
ARMS = ["base student", "agent_distill", "+ NLL selection", "+ segment weights", "SmartAD", "max-NLL"]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """(store, what the sweep printed) of the whole quickstart."""
    store = Store(tmp_path_factory.mktemp("quickstart") / "store")
    return store, smartad("sweep", QUICKSTART, store=store.root)


@pytest.fixture(scope="module")
def book(quickstart):
    return ledger.load(quickstart[0], "quickstart")


@pytest.fixture(scope="module")
def pulled(quickstart, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pulled") / "best"
    smartad("pull", "best", "--sweep", "quickstart", "--to", folder, store=quickstart[0].root)
    return folder


def test_quickstart_prints_its_table_its_best_adapter_and_where_to_look_next(quickstart, book):
    output = quickstart[1].stdout
    assert all(arm in output for arm in ARMS)
    assert re.search(r"best by avg: .* train-[0-9a-f]{12}", output)
    assert "smartad pull best" in output and "smartad table quickstart" in output
    assert "99/99" in quickstart[1].stderr


def test_quickstart_shares_its_pool_and_scoring(quickstart, book):
    stages = [f.rsplit("-", 1)[0] for f in quickstart[0].fingerprints()]
    assert (stages.count("collect"), stages.count("score"), stages.count("train")) == (1, 1, 10)


def test_quickstart_students_are_what_the_toy_world_promises(quickstart, book):
    """Base between 2 and 20 %, the best arm at 65 % or more with room above it, some 3-hop questions solved."""
    table = results.table(quickstart[0], book)
    best = max(entries["Avg"].percent for entries in table.rows.values())
    assert 2 <= table.rows["base student"]["Avg"].percent <= 20
    assert 65 <= best < 99
    assert max(entries["toy_qa3"].percent for entries in table.rows.values()) > 0


def test_second_start_runs_nothing(quickstart):
    store = quickstart[0]
    before = {f: (store.folder(f) / "record.json").stat().st_mtime_ns for f in store.fingerprints()}
    again = smartad("sweep", QUICKSTART, store=store.root)
    assert {f: (store.folder(f) / "record.json").stat().st_mtime_ns for f in store.fingerprints()} == before
    assert "99 of 99 stages are finished already" in again.stderr
    assert again.stdout == quickstart[1].stdout


def test_every_stage_has_metrics_and_a_whole_record(quickstart):
    store = quickstart[0]
    for fingerprint in store.fingerprints():
        record = store.record(fingerprint)
        assert record["metrics"] and record["environment"]["packages"]["torch"]
        assert store.verify(fingerprint) == []
    trained = next(f for f in store.fingerprints() if f.startswith("train-"))
    rows = [json.loads(line) for line in (store.folder(trained) / "metrics.jsonl").read_text().splitlines()]
    assert len([row for row in rows if "loss" in row]) > 10


def test_no_identity_names_this_machine(quickstart):
    store = quickstart[0]
    for fingerprint in store.fingerprints():
        identity = json.dumps(store.record(fingerprint)["identity"])
        assert str(store.root) not in identity and str(ROOT) not in identity


@pytest.mark.parametrize("form", ["md", "tex", "csv", "terminal"])
def test_table_in_every_form_has_every_row_and_number(quickstart, book, form):
    text = smartad("table", "quickstart", "--format", form, store=quickstart[0].root).stdout
    table = results.table(quickstart[0], book)
    for arm in ARMS:
        assert (arm.replace("_", r"\_") if form == "tex" else arm) in text
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert len(rows) == len(ARMS) * 2 * 3 and all(int(row["n"]) == 50 for row in rows)
    else:
        assert all(f"{table.rows[arm]['Avg'].percent:.1f}" in text for arm in ARMS)


def test_status_show_and_why_explain_the_sweep(quickstart, book):
    root = quickstart[0].root
    assert "99 of 99 stages finished" in smartad("status", "quickstart", store=root).stdout
    runs = {trial.label: trial.runs for trial in book.trials}
    shown = smartad("show", runs["SmartAD"][0].train, store=root).stdout
    assert "weights.final" in shown and "adapter/adapter_model.safetensors" in shown and "inputs" in shown
    why = smartad("why", runs["+ NLL selection"][0].train, runs["SmartAD"][0].train, store=root).stdout
    assert why.startswith("first difference: train.weights.action: 1 -> 1.5\n")
    why = smartad("why", runs["SmartAD"][0].goal, runs["max-NLL"][0].goal, store=root).stdout
    assert why.startswith("first difference: select.rule: 'min' -> 'max'\n")
    assert "the same" in smartad("why", runs["SmartAD"][0].goal, runs["SmartAD"][0].goal, store=root).stdout


def test_pulled_adapter_loads_with_peft_and_is_the_trained_one(quickstart, pulled):
    from peft import AutoPeftModelForCausalLM

    model = AutoPeftModelForCausalLM.from_pretrained(str(pulled))
    assert model.peft_config["default"].r == 16
    card = json.loads((pulled / "smartad.json").read_text())
    assert card["base"] == models.identify("toy") and set(card["row"]) == {"toy_math", "toy_qa", "toy_qa3"}
    store = quickstart[0]
    assert (pulled / "adapter_model.safetensors").read_bytes() == \
        (store.folder(card["fingerprint"]) / "adapter/adapter_model.safetensors").read_bytes()


def test_merged_adapter_answers_like_base_and_adapter(quickstart, tmp_path):
    said = smartad("pull", "latest", "--to", tmp_path / "latest", "--merge", store=quickstart[0].root).stdout
    assert "3 of 3 greedy answers equal" in said
    assert "## Results\n| benchmark | pass@1 |" in (tmp_path / "latest/README.md").read_text()


def test_gc_finds_nothing_that_a_finished_sweep_could_do_without(quickstart):
    assert "nothing in" in smartad("gc", store=quickstart[0].root).stdout


def test_ask_shows_the_steps_of_the_pulled_adapter(pulled):
    asked = "A garden is 12 m long and 7 m wide. What is its perimeter?"
    done = smartad("ask", "--adapter", pulled, asked)
    assert "step 1" in done.stdout and "final_answer" in done.stdout and "answer:" in done.stdout


def test_ask_with_a_truncated_adapter_is_one_clear_error(pulled):
    weights = pulled / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:len(whole) // 2])
    try:
        assert "adapter_model.safetensors has" in smartad("ask", "--adapter", pulled, "?", status=2).stderr
    finally:
        weights.write_bytes(whole)
