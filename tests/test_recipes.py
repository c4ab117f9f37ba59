"""A row's experiment comes back from its stages' records: planned again, it is the very same stages."""

import dataclasses
import json

import pytest
import yaml

from conftest import ROOT
from smartad import experiment
from smartad.analysis.recipes import experiment_of, parted, recipe_of
from smartad.config import load
from smartad.experiment import Experiment
from smartad.store import StoreError
from smartad.sweep.ledger import Ledger, run_of
from smartad.sweep.space import corners, read

TOY = str(ROOT / "configs" / "toy.yaml")


def recorded(store, config):
    """``config`` planned, with all its stages on record as if they had run: its plan, its ledger and its run."""
    plan = experiment.plan(config)
    for spec in plan.goal.upstream_first():
        store.folder(spec.fingerprint).mkdir(exist_ok=True)
        identity = json.dumps({"identity": spec.identity}, sort_keys=True)
        (store.folder(spec.fingerprint) / "record.json").write_text(identity)
    groups = {"In-domain": list(config.benchmarks.in_domain), "Out-of-domain": list(config.benchmarks.out_of_domain)}
    return plan, Ledger("some", {}, groups, ()), run_of(config.seed, plan.goal, plan.train)


def planned_again(store, book, run):
    """Through the text of a file, as somebody would who makes it again."""
    return experiment.plan(experiment_of(yaml.safe_load(yaml.safe_dump(recipe_of(store, book, run, {})))))


def stages(plan):
    return [spec.fingerprint for spec in plan.goal.upstream_first()]


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "sweeps").rglob("*.yaml")), ids=lambda path: path.stem)
def test_recipe_of_declared_rows_plans_the_same_stages_in_the_same_order(path, store):
    sweep = read(str(path))
    for trial in corners(sweep.config)[::2]:
        plan, book, run = recorded(store, sweep.experiment(trial, sweep.config.seeds[-1]))
        again = planned_again(store, book, run)
        assert stages(again) == stages(plan), parted(store, again.goal, plan.goal.fingerprint)


@pytest.mark.parametrize("words", [
    ["corpus=null", "collect.agent=codeact"],
    ["train=null", "evaluate.temperature=0.5", "evaluate.samples=4", "evaluate.top_p=0.9"],
    ["select.rule=random", "select.seed=7", "train.seed=9", "seed=3"],
    ["train_sets=[toy_train,math_hard]", "golds=corrected", "benchmarks.in_domain=[math500]", "benchmarks.out_of_domain=[]"],
    ["limits.train_questions=null", "limits.questions=3", "evaluate.episode_tokens=900", "retrieval.bm25.k1=1.2"],
    ["grade.qa=[qa_judge,qa_match]", "grade.judge=some-judge", "benchmarks.in_domain=[toy_qa3,hotpotqa]",
     "benchmarks.out_of_domain=[]"],
    [f"pool={{format: mint, kind: math, name: elsewhere, refuse: [told_wrong], sources: [{{files: [a.jsonl@{64 * 'a'}]}}]}}",
     "select.first=1", "dialect=mint"],
    ["retrieval.method=dense", "retrieval.vectors.kind=hnsw", "retrieval.vectors.beam=64"]], ids=lambda words: words[0])
def test_recipe_of_an_experiment_with_nulls_and_odd_values_plans_the_same_stages(words, store):
    plan, book, run = recorded(store, load(Experiment, [TOY, *words]))
    assert stages(planned_again(store, book, run)) == stages(plan)


def test_recipe_says_null_where_a_default_would_overrule_it_and_is_silent_on_options_that_come_as_null(store):
    _, book, run = recorded(store, load(Experiment, [TOY, "select.rule=min"]))
    recipe = recipe_of(store, book, run, {})
    assert recipe["select"]["seed"] is None, "it comes as the row's"
    assert not {"top_p", "episode_tokens"} & recipe["evaluate"].keys(), "an older smartad may not know them"


def test_recipe_of_a_local_student_names_its_folder_where_that_is_known(store):
    folder = str(ROOT / "smartad" / "toyworld" / "student")
    plan, book, run = recorded(store, load(Experiment, [TOY, f"student={folder}"]))
    identity = plan.train.config.student
    assert recipe_of(store, book, run, {identity: folder})["student"] == folder
    assert recipe_of(store, book, run, {})["student"] == identity, "nobody can load it, and the plan is the same all the same"
    assert stages(planned_again(store, book, run)) == stages(plan)


def test_recipe_of_an_unfinished_row_is_refused_naming_what_is_missing(store):
    plan, book, run = recorded(store, load(Experiment, [TOY]))
    (store.folder(plan.train.fingerprint) / "record.json").unlink()
    with pytest.raises(StoreError, match=rf"1 of the {len(run.stages)} stages .*{plan.train.fingerprint}"):
        recipe_of(store, book, run, {})


def test_recipe_parted_names_the_stage_and_the_field_that_today_means_something_else(store):
    plan, _, _ = recorded(store, load(Experiment, [TOY]))
    other = experiment.plan(load(Experiment, [TOY, "train.rank=8"]))
    found = parted(store, other.goal, plan.goal.fingerprint)
    assert found == ["train.rank: 16 -> 8"]
    newer = dataclasses.replace(plan.goal, stage=dataclasses.replace(plan.goal.stage, version=plan.goal.stage.version + 1))
    version = plan.goal.stage.version
    assert parted(store, newer, plan.goal.fingerprint) == [f"aggregate.version: {version} -> {version + 1}"]
    assert parted(store, plan.goal, plan.goal.fingerprint) == []
