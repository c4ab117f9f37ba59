"""The papers' tables as they are declared: what they share, and what has to be run.  Planning needs no hub and no data."""

from collections import Counter

import pytest

from conftest import ROOT
from smartad.config import ConfigError, load
from smartad.experiment import Experiment, plan
from smartad.stage import upstream_first
from smartad.sweep.driver import Driver
from smartad.sweep.space import read
from smartad.types import SegmentWeights


def driver_of(name, store):
    driver = Driver(read(str(ROOT / "sweeps" / f"{name}.yaml")), store)
    driver.ask()
    return driver


def to_run(name, store):
    """Stage -> how many of it a declared sweep needs."""
    return Counter(spec.stage.name for spec in upstream_first(driver_of(name, store).goals()))


def adapters(name, store):
    """Row -> fingerprint of its adapter."""
    return {trial.label: trial.runs[0].train for trial in driver_of(name, store).ledger().trials}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "collect", "score", "select", "train"), [
    ("table2_main", 4, 8, 10, 12),
    ("table3_ablation", 1, 2, 4, 8),
    ("table4_selection", 1, 1, 3, 3),
    ("table5_weights", 1, 1, 1, 4),
    ("table6_k", 1, 1, 4, 4),
    ("table10_humaneval", 2, 2, 3, 4),
    ("predecessor_table2", 4, 16, 16, 16),
    ("predecessor_table3", 2, 4, 4, 4),
    ("grid96", 1, 2, 20, 80),
])
def test_declared_table_runs_every_shared_stage_once(name, collect, score, select, train, store):
    counts = to_run(name, store)
    assert (counts["collect"], counts["score"], counts["select"], counts["train"]) == (collect, score, select, train)


@pytest.mark.slow
def test_grid_of_96_trials_has_96_rows_over_80_adapters(store):
    trained = adapters("grid96", store)
    assert len(trained) == 96 and len(set(trained.values())) == 80


@pytest.mark.slow
def test_tables_of_one_paper_share_the_adapters_they_have_in_common(store):
    """Where two tables print the same condition, it is trained once."""
    main, ablation = adapters("table2_main", store), adapters("table3_ablation", store)
    selection, weights, k = (adapters(name, store) for name in ("table4_selection", "table5_weights", "table6_k"))
    humaneval = adapters("table10_humaneval", store)
    assert main["1.5B Agent Distill"] == ablation["1.5B Agent Distillation"]
    assert main["3B SmartAD"] == ablation["3B SmartAD"] == humaneval["SmartAD"]
    assert k["select.first=1"] == main["3B Agent Distill"] == humaneval["Agent Distillation"]
    assert k["select.first=10"] == selection["min-NLL"] == ablation["3B + NLL Trajectory Selection"]
    assert weights["SmartAD"] == main["1.5B SmartAD"]
    assert humaneval["SAD"] == main["3B SAD"] != main["3B Agent Distill"]
    assert weights["Uniform"] == ablation["1.5B + NLL Trajectory Selection"]
    assert humaneval["AD"] == main["3B AD"]
    assert len({of for label, of in main.items() if "Prompt" not in label}) == 12
    assert {of for label, of in main.items() if "Prompt" in label} == {None}


@pytest.mark.slow
def test_votes_while_evaluating_train_nothing_anew(store):
    trained = adapters("predecessor_table2", store)
    assert trained["7B Agent Distill + ftp sag"] == trained["7B Agent Distill + ftp"] != trained["7B Agent Distill"]


def test_papers_settings_are_those_of_the_paper():
    experiment = load(Experiment, [str(ROOT / "configs" / name) for name in (
        "papers.yaml", "student/qwen2.5_1.5b.yaml", "method/smartad.yaml")])
    assert (experiment.collect.teacher, experiment.student) == ("Qwen/Qwen2.5-32B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct")
    assert (experiment.collect.temperature, experiment.collect.samples, experiment.collect.max_steps) == (1.0, 15, 5)
    assert (experiment.select.rule, experiment.select.first) == ("min", 10)
    assert experiment.train.weights == SegmentWeights(1.0, 1.5, 2.0)
    assert (experiment.train.rank, experiment.train.epochs, experiment.train.batch_size) == (64, 2, 4)
    assert (experiment.evaluate.temperature, experiment.evaluate.max_steps, experiment.limits.questions) == (0.0, 5, None)
    assert len(experiment.benchmarks.names()) == 9 and experiment.seed == 0


def loaded(*methods):
    return load(Experiment, [str(ROOT / "configs/papers.yaml"), *(str(ROOT / f"configs/method/{name}.yaml") for name in methods)])


def test_methods_of_chains_of_thought_are_those_in_all_they_do():
    for name, passages in (("cot_distill", False), ("cot_distill_rag", True)):
        method = loaded(name)
        stages = (method.collect, method.score, method.train, method.evaluate)
        assert {(s.dialect, s.prompt) for s in stages} == {("cot", "cot")}
        assert {(s.agent, s.passages) for s in (method.collect, method.evaluate)} == {("cot", passages)}
        inputs = {spec.stage.name: set(spec.inputs) for spec in upstream_first([plan(method).goal])}
        assert ("index" in inputs["collect"], "index" in inputs["evaluate"]) == (passages, passages)
    assert loaded("cot_prompt").train is None and loaded("cot_prompt").evaluate.agent == "cot"


def test_votes_and_first_thoughts_are_the_predecessors():
    method = loaded("first_thought", "sag")
    assert (method.collect.first_thought, method.collect.samples, method.evaluate.temperature) == (True, 1, 0.4)
    assert (method.evaluate.candidates, method.evaluate.first_thought, method.evaluate.fallback) == (8, False, False)


@pytest.mark.parametrize(("setting", "words"), [
    ("evaluate.agent=cot", r"evaluate\.agent=cot does not write in evaluate\.dialect=paper"),
    ("dialect=cot", r"collect\.agent=codeact does not write in collect\.dialect=cot"),
    ("evaluate.candidates=8", r"at temperature 0 they are all the same; set evaluate\.temperature"),
    ("evaluate.candidates=0", r"evaluate\.candidates must be at least 1, got 0"),
    ("evaluate.passages=true", r"evaluate\.passages is an option of the agent cot, and evaluate\.agent=codeact"),
    ("evaluate.first_thought=true", "first_thought"),
])
def test_options_that_fit_no_agent_are_refused_at_the_desk(setting, words):
    with pytest.raises(ConfigError, match=words):
        load(Experiment, [str(ROOT / "configs/papers.yaml"), setting])


@pytest.mark.parametrize(("settings", "words"), [
    (["collect.first_thought=true"], r"collect\.first_thought is an option of the agent codeact"),
    (["evaluate.fallback=true"], r"evaluate\.fallback is an option of the agent codeact"),
    (["corpus=null", "evaluate.passages=true"], r"evaluate\.passages looks for the question in a corpus, and corpus is null"),
])
def test_options_that_fit_no_chain_of_thought_are_refused_at_the_desk(settings, words):
    with pytest.raises(ConfigError, match=words):
        load(Experiment, [str(ROOT / f"configs/{name}") for name in ("papers.yaml", "method/cot_distill.yaml")] + settings)


def test_plan_of_a_hub_model_names_it_and_no_path():
    planned = plan(load(Experiment, [str(ROOT / "configs/papers.yaml"), "student=Qwen/Qwen2.5-3B-Instruct@abc"]))
    assert planned.train.config.student == "Qwen/Qwen2.5-3B-Instruct@abc" and planned.models == {}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_arm_of_sources_is_what_its_files_and_overrides_say(tmp_path):
    write(tmp_path / "methods/hard.yaml", "select: {rule: max}\ntrain: {weights: {final: 3}}")
    write(tmp_path / "methods/prompt.yaml", "train: null")
    file = write(tmp_path / "sweeps/s.yaml", "arms:\n  hard: [../methods/hard.yaml, train.weights.final=4, select.first=5]\n"
                                             "  inline: {select.rule: max}\n  base: [../methods/prompt.yaml]\n")
    sweep = read(file)
    assert sweep.config.arms["hard"] == {"select.rule": "max", "train.weights.final": 4, "select.first": 5}
    assert sweep.config.arms["inline"] == {"select.rule": "max"} and sweep.config.arms["base"] == {"train": None}


@pytest.mark.parametrize(("arm", "words"), [
    ("[../methods/none.yaml]", "no file .*methods/none.yaml"),
    ("[selct.rule=max]", "trial 'a': selct"),
    ("[select.rule]", "select.rule"),
    ("[1]", "arm 'a': expected a mapping of dotted.key: value or a list of sources"),
    ("a word", "arm 'a': expected a mapping of dotted.key: value or a list of sources"),
])
def test_arm_that_is_neither_mapping_nor_sources_is_named(tmp_path, arm, words):
    with pytest.raises(ConfigError, match=words):
        read(write(tmp_path / "sweeps/s.yaml", f"arms: {{a: {arm}}}"))
