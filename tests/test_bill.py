"""The bill: costs of finished stages, estimates for missing ones, and the real bill beside what was expected."""

import io
from dataclasses import astuple

import pytest
import yaml
from rich.console import Console

from command import smartad
from conftest import ROOT
from made_up import declare, finish, launch, of
from smartad.cli.billing import bill_of, bill_table, number
from smartad.cluster import STAGES
from smartad.config import load
from smartad.experiment import Experiment, plan
from smartad.stage import upstream_first
from smartad.sweep.bill import UNKNOWN, Cost, compare, cost_of, estimate, save_estimate, saved, total


def record(stage="train", seconds=3600.0, allotted=None, **metrics):
    return {"identity": {"stage": stage, "config": {"graders": {"toy": "exact/1"}}, "inputs": {}}, "metrics": metrics,
            "seconds": seconds,
            "environment": {"gpus": ["NVIDIA H200"] * 2}, "files": {"a": {"size": 2_000_000}, "b": {"size": 500_000_000}},
            **({"allotted": allotted} if allotted else {})}


def test_cost_is_time_by_what_was_allotted_and_what_lies_on_disk():
    assert cost_of(record(allotted={"gpus": 4, "threads": 8})) == Cost(3600.0, 4.0, 8.0, 0.0, 0.0, 0.502)


def test_cost_of_a_record_without_allotment_counts_the_gpus_that_were_seen():
    assert cost_of(record()).gpu_hours == 2.0 and cost_of(record()).cpu_hours == 1.0


@pytest.mark.parametrize("stage, metrics, tokens", [
    ("collect", {"tokens": 1200}, 1200), ("evaluate", {"tokens": None}, None), ("evaluate", {}, None),
    ("train", {"tokens": 5000}, 0.0), ("score", {"tokens": 5000}, 0.0)])
def test_tokens_are_those_a_model_wrote_and_uncounted_ones_are_not_zero(stage, metrics, tokens):
    assert cost_of(record(stage, **metrics)).tokens == tokens


def test_judge_calls_of_a_grader_that_asks_a_judge_are_counted_or_unknown():
    assert cost_of(record("grade")).judge_calls == 0.0
    judged = record("grade", judge_calls=40)
    judged["identity"]["config"] = {"graders": {"hotpotqa": "judge/1"}, "judge": "qwen-plus"}
    assert cost_of(judged).judge_calls == 40
    del judged["metrics"]["judge_calls"]
    assert cost_of(judged).judge_calls is None


def test_sum_with_something_unknown_in_it_is_unknown():
    known = Cost(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    assert total([known, known]) == Cost(2.0, 4.0, 6.0, 8.0, 10.0, 12.0) and total([known, UNKNOWN]) == UNKNOWN


def specs_of(*overrides):
    goal = plan(load(Experiment, [str(ROOT / "configs/toy.yaml"), *overrides])).goal
    return upstream_first([goal])


def lines_of(store, specs, kind):
    return [line for line in estimate(store, specs) if line.stage == kind]


def test_stage_without_precedent_has_no_price(store):
    lines = estimate(store, specs_of())
    assert lines and all(line.cost == UNKNOWN and line.basis == "nothing recorded" for line in lines)


def test_stage_costs_what_its_like_cost_and_finished_ones_cost_nothing(store):
    specs = specs_of("limits.questions=10")
    finish(store, [s for s in specs if s.stage.name != "aggregate"], seconds=36.0, questions=10, tokens=300)
    assert [line.stage for line in estimate(store, specs)] == ["aggregate"]
    (line,) = lines_of(store, specs_of("limits.questions=10", "select.rule=max"), "train")
    assert line.basis == "their like" and line.cost == pytest.approx(Cost(36.0, 0.0, 0.01, 0.0, 0.0, 1e-6))
    (line,) = lines_of(store, specs_of("limits.questions=10", "select.rule=max"), "evaluate")
    assert len(line.fingerprints) == 3 and line.cost.tokens == 900


def test_twice_the_questions_take_twice_as_long(store):
    specs = specs_of("limits.questions=10", "limits.train_questions=8")
    for spec in of(specs, "prepare"):
        finish(store, [spec], questions=spec.config.limit)
    finish(store, of(specs, "collect", "evaluate", "grade"), seconds=5.0)
    more = specs_of("limits.questions=20", "limits.train_questions=8", "collect.samples=30", "select.first=10")
    samples = of(specs, "collect")[0].config.samples
    (collect,) = lines_of(store, more, "collect")
    assert collect.basis == "their like, per question" and collect.cost.seconds == pytest.approx(5.0 * 30 / samples)
    (evaluate,) = lines_of(store, more, "evaluate")
    assert evaluate.cost.seconds == pytest.approx(3 * 10.0)


def test_estimate_from_other_questions_or_agents_says_so_and_there_is_none_from_another_model(store):
    specs = specs_of("benchmarks.in_domain=[toy_math]", "benchmarks.out_of_domain=[]")
    finish(store, of(specs, "evaluate"), seconds=5.0)
    other = specs_of("benchmarks.in_domain=[toy_qa]", "benchmarks.out_of_domain=[]")
    assert [line.basis for line in lines_of(store, other, "evaluate")] == ["other questions"]
    model = specs_of("student=Qwen/Qwen2.5-1.5B-Instruct")
    assert [(line.basis, line.cost) for line in lines_of(store, model, "evaluate")] == [("nothing recorded", UNKNOWN)]
    voting = specs_of("evaluate.candidates=8", "evaluate.temperature=0.4")
    assert {line.basis for line in lines_of(store, voting, "evaluate")} == {"others of their kind"}


def test_real_bill_stands_beside_what_was_expected_at_the_first_start(store, tmp_path):
    sweep = declare(tmp_path)
    book, specs = launch(store, sweep)
    finish(store, of(specs, "prepare", "index"))
    assert saved(store, book.name) is None and bill_of(store, book) is None
    first = save_estimate(store, book.name, specs)
    assert {f for line in first.lines for f in line.fingerprints} == {s.fingerprint for s in specs} - {
        s.fingerprint for s in of(specs, "prepare", "index")}
    finish(store, of(specs, "train")[:1], seconds=7200.0)
    assert save_estimate(store, book.name, specs) == first == saved(store, book.name), "a restart expects nothing new"
    rows = {row.stage: row for row in compare(store, book, first)}
    assert (rows["train"].stages, rows["train"].finished) == (2, 1)
    assert rows["train"].expected == UNKNOWN and rows["train"].real.cpu_hours == 2.0


def test_what_a_failed_stage_took_is_not_zero_in_the_bill(store, tmp_path):
    book, specs = launch(store, declare(tmp_path))
    bill = save_estimate(store, book.name, specs)
    finish(store, [*of(specs, "prepare"), of(specs, "evaluate")[0]], seconds=3600.0)
    rows = {row.stage: row for row in compare(store, book, bill)}
    assert rows["train"].real == UNKNOWN and rows["evaluate"].real.cpu_hours == 1.0
    out = io.StringIO()
    Console(file=out, width=100).print(bill_of(store, book))
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in out.getvalue().splitlines()}
    assert lines["train"].startswith("0 of 2 ? / ? ") and lines["evaluate"].startswith("1 of 9 ? / 1 "), out.getvalue()
    assert lines["total"].startswith(f"5 of {len(specs)} ? / ≥ 5 ")


def test_trials_proposed_later_are_expected_when_they_come_or_are_said_to_be_unexpected(store, tmp_path):
    sweep = declare(tmp_path)
    book, specs = launch(store, sweep)
    bill = save_estimate(store, book.name, of(specs, "train")[:1])
    finish(store, of(specs, "train"), seconds=3600.0)
    for row in store.root.glob("train-*/record.json"):
        row.write_text(row.read_text().replace('"started": 1.0', f'"started": {bill.time + 5}'))
    later = compare(store, book, bill)[-1]
    assert (later.stage, later.stages, later.expected, later.real.cpu_hours) == ("proposed later", 1, None, 1.0)
    grown = save_estimate(store, book.name, specs)
    assert grown.time == bill.time and grown.lines[:len(bill.lines)] == bill.lines and len(grown.lines) > len(bill.lines)


def test_numbers_are_short_and_unknown_is_not_zero():
    assert [number(v) for v in (None, 0, 0.0, 0.0001, 0.25, 7, 1234, 56_789, 2.5e6, 3e9)] == [
        "?", "0", "0", "<0.001", "0.25", "7", "1234", "56.8k", "2.5M", "3G"]


def test_dry_run_prints_what_is_new_and_a_bill_and_leaves_no_trace(tmp_path):
    words = ["sweep", "sweeps/quickstart.yaml", "--dry-run", "--store", tmp_path / "store"]
    said = smartad(*words).stdout
    assert "99 stages for 12 row(s)" in said and "9 saved" in said
    assert said.count("nothing recorded") == 9 and "?: not known, which is not 0" in said and "#SBATCH" not in said
    assert not (tmp_path / "store").exists()


def test_plan_for_a_slurm_site_prints_the_script_of_each_kind_of_stage(tmp_path):
    said = smartad("plan", "sweeps/quickstart.yaml", "--cluster", "slurm/dev.yaml", "--store", tmp_path / "store").stdout
    scripts = said.split("#!/bin/bash")[1:]
    assert [line.split()[2] for line in said.splitlines() if " in jobs of " in line] == [s for s in STAGES if s != "import"]
    assert len(scripts) == 9 and all("#SBATCH --partition=batch" in script for script in scripts)
    train = next(script for script in scripts if "--job-name=train." in script)
    assert "#SBATCH --array=0-9%" in train and "#SBATCH --cpus-per-task=1" in train
    assert "# 34 grade in jobs of 8" in said and "#SBATCH --array=0-4%" in said, "34 in packs of 8 are 5 jobs"
    assert not (tmp_path / "store").exists()


def test_resolved_config_of_a_trial_loads_to_the_trial(tmp_path):
    said = smartad("plan", "sweeps/quickstart.yaml", "-v", "--store", tmp_path / "store").stdout
    documents = said.split("--- # ")[1:]
    assert [d.splitlines()[0] for d in documents][:2] == ["base student", "agent_distill"] and len(documents) == 6
    text = documents[4].partition("\n")[2].partition("\nmissing ")[0]
    assert yaml.safe_load(text)["train"]["weights"] == {"reason": 1.0, "action": 1.5, "final": 2.0} and "${" not in text
    (tmp_path / "trial.yaml").write_text(text)
    wanted = load(Experiment, [str(ROOT / "configs/toy.yaml"), "select.rule=min",
                               "train.weights={reason: 1, action: 1.5, final: 2}"])
    assert load(Experiment, [str(tmp_path / "trial.yaml")]) == wanted


def test_unknown_costs_survive_the_way_to_disk_and_back(store, tmp_path):
    book, specs = launch(store, declare(tmp_path))
    save_estimate(store, book.name, specs)
    assert all(set(astuple(line.cost)) == {None} for line in saved(store, book.name).lines)


@pytest.mark.parametrize("unknown", [True, False])
def test_bill_fits_eighty_columns_and_says_at_least_where_it_does_not_know_all(store, tmp_path, unknown):
    book, specs = launch(store, declare(tmp_path))
    like = [s for s in specs_of("seed=7", "limits.questions=9") if s.stage.name != ("train" if unknown else "")]
    finish(store, like, seconds=1e6, tokens=9e9)
    bill = save_estimate(store, book.name, specs)
    finish(store, specs, seconds=1.1e6, tokens=8e9)
    out = io.StringIO()
    console = Console(file=out, width=80)
    console.print(bill_table(bill.lines))
    console.print(bill_of(store, book))
    assert "…" not in out.getvalue() and ("≥" in out.getvalue()) == unknown


def test_several_samples_of_each_question_cost_as_many_times_as_much(store):
    settings = ["benchmarks.in_domain=[toy_math]", "benchmarks.out_of_domain=[]", "evaluate.temperature=0.2"]
    once = specs_of(*settings)
    finish(store, of(once, "prepare"), questions=50)
    finish(store, of(once, "evaluate"), seconds=5.0)
    many = specs_of(*settings, "evaluate.samples=10")
    (line,) = lines_of(store, many, "evaluate")
    assert line.cost.seconds == pytest.approx(50.0)
