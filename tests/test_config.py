"""Configuration: every declared file loads and plans; bad input is one clear error that says what would be right."""

import dataclasses
from typing import Any

import pytest

from conftest import ROOT
from smartad.cluster import ClusterConfig
from smartad.config import ConfigError, Template, frozen, load, override, written
from smartad.experiment import Experiment, plan
from smartad.stage import upstream_first
from smartad.sweep import proposers
from smartad.sweep.driver import Driver
from smartad.sweep.space import corners, declaration, read
from smartad.types import SegmentWeights

FILES = {folder: sorted(str(p.relative_to(ROOT)) for p in (ROOT / folder).rglob("*.y*ml"))
         for folder in ("configs", "slurm", "sweeps")}


def test_there_are_declarations_to_load():
    assert all(FILES.values())


@pytest.mark.parametrize("setting", ["vectors.kind=hnsw", "vectors.probes=8", "embedding.model=intfloat/e5-large-v2"])
def test_vectors_that_bm25_would_not_look_at_are_refused_with_the_way_out(setting):
    with pytest.raises(ConfigError, match=f"retrieval.{setting} with retrieval.method=bm25, .* retrieval.method=dense"):
        load(Experiment, [f"retrieval.{setting}"])
    load(Experiment, [f"retrieval.{setting}", "retrieval.method=dense"])


@pytest.mark.parametrize("name", FILES["configs"])
def test_declared_experiment_loads_and_plans(name):
    assert plan(load(Experiment, [str(ROOT / name)])).goal.fingerprint.startswith("aggregate-")


@pytest.mark.parametrize("name", FILES["slurm"])
def test_declared_profile_loads(name):
    assert load(ClusterConfig, [str(ROOT / name)]).slots >= 0


@pytest.mark.parametrize("name", FILES["sweeps"])
def test_declared_sweep_loads_proposes_plans_and_says_what_it_costs(name, store):
    sweep = read(str(ROOT / name))
    assert proposers.of(sweep).ask() is not None
    driver = Driver(sweep, store)
    assert driver.ask()
    comment = (ROOT / name).read_text().split("\n\n")[0]
    assert comment.startswith("#") and "Costs" in comment


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES["sweeps"])
def test_declared_sweep_reads_the_same_from_the_copies_that_a_detached_driver_is_given(name, tmp_path):
    sweep = read(str(ROOT / name))
    (tmp_path / "experiment.yaml").write_text(frozen(Experiment, sweep.sources))
    copy = tmp_path / f"{sweep.name}.yaml"
    copy.write_text(written(dataclasses.replace(sweep.config, base=["experiment.yaml"])))
    again = read(str(copy))
    assert (again.name, declaration(again)) == (sweep.name, declaration(sweep))
    trial = corners(sweep.config)[-1]
    assert plan(again.experiment(trial, 0)).goal.fingerprint == plan(sweep.experiment(trial, 0)).goal.fingerprint


def test_quickstart_shares_one_pool_and_one_scoring(store):
    driver = Driver(read(str(ROOT / "sweeps/quickstart.yaml")), store)
    driver.ask()
    stages = [s.stage.name for s in upstream_first(driver.goals())]
    counts = {name: stages.count(name) for name in stages}
    assert (counts["collect"], counts["score"], counts["train"], counts["evaluate"]) == (1, 1, 10, 33)
    assert counts["select"] == 4, "min and max choose the same for every seed, random does not"


def fingerprints(*overrides):
    return {s.stage.name: s.fingerprint for s in plan(load(Experiment, list(overrides))).goal.upstream_first()}


def moved(*overrides):
    base, new = fingerprints(), fingerprints(*overrides)
    return [name for name in ("prepare", "index", "collect", "score", "select", "train", "evaluate", "aggregate")
            if base[name] != new[name]]


@pytest.mark.parametrize("change, expected", [
    ("collect.temperature=0.7", ["collect", "score", "select", "train", "evaluate", "aggregate"]),
    ("score.end_of_turn=false", ["score", "select", "train", "evaluate", "aggregate"]),
    ("select.rule=max", ["select", "train", "evaluate", "aggregate"]),
    ("train.weights.final=1", ["train", "evaluate", "aggregate"]),
    ("evaluate.max_steps=3", ["evaluate", "aggregate"]),
    ("seed=1", ["train", "evaluate", "aggregate"]),
    ("train.weights.final=2.0", []),
    ("train.weights=smartad", []),
    ("data=/somewhere/else", []),
])
def test_override_moves_its_stage_and_what_is_below_it_and_nothing_else(change, expected):
    assert moved(change) == expected


@pytest.mark.parametrize(("sources", "triple"), [
    (["train.weights=smartad"], (1, 1.5, 2)), (["train.weights=uniform"], (1, 1, 1)),
    (["train.weights=thought_heavy"], (2, 1, 1)), (["train.weights=action_heavy"], (1, 2, 1)),
    (["train.weights=thought_heavy", "train.weights.final=3"], (2, 1, 3)),
    (["train.weights.final=3", "train.weights=action_heavy"], (1, 2, 1)),
    (["train={weights: uniform, rank: 4}"], (1, 1, 1)), (["train.weights={reason: 0.5, action: 4, final: 9}"], (0.5, 4, 9)),
])
def test_preset_of_weights_is_its_triple_whatever_it_is_called(sources, triple, tmp_path):
    assert load(Experiment, sources).train.weights == SegmentWeights(*triple)
    numbers = dict(zip(("reason", "action", "final"), triple, strict=True))
    (tmp_path / "one.yaml").write_text(f"train: {{weights: {numbers}}}")
    assert moved(*sources) == moved(str(tmp_path / "one.yaml"), *(["train.rank=4"] if "rank" in sources[0] else []))
    (tmp_path / "frozen.yaml").write_text(frozen(Experiment, sources))
    assert load(Experiment, [str(tmp_path / "frozen.yaml")]).train.weights == SegmentWeights(*triple)


def test_preset_of_weights_in_a_sweep_is_its_triple(tmp_path):
    (tmp_path / "hard.yaml").write_text("train: {weights: thought_heavy}")
    file = tmp_path / "s.yaml"
    file.write_text("arms: {a: {train.weights: uniform}, b: [hard.yaml, train.weights.final=3]}\nseeds: [0]\n")
    sweep = read(str(file))
    assert [sweep.experiment(trial, 0).train.weights for trial in corners(sweep.config)] == [
        SegmentWeights(1, 1, 1), SegmentWeights(2, 1, 3)]
    file.write_text("space: {train.weights: [uniform, action_heavy]}")
    sweep = read(str(file))
    assert [(trial.label, sweep.experiment(trial, 0).train.weights.action) for trial in corners(sweep.config)] == [
        ("train.weights=uniform", 1), ("train.weights=action_heavy", 2)]


def test_seed_moves_the_selection_only_of_the_random_rule():
    random = [fingerprints("select.rule=random", f"seed={seed}")["select"] for seed in (0, 1)]
    smallest = [fingerprints("select.rule=min", f"seed={seed}")["select"] for seed in (0, 1)]
    assert random[0] != random[1] and smallest[0] == smallest[1]


def test_questions_to_check_bf16_on_move_nothing_in_fp32():
    assert fingerprints("score.check_questions=8")["score"] == fingerprints()["score"]
    in_bf16 = [fingerprints("score.dtype=bf16", f"score.check_questions={n}")["score"] for n in (8, 32)]
    assert in_bf16[0] != in_bf16[1]


def test_untrained_student_needs_no_pool():
    stages = {s.stage.name for s in plan(load(Experiment, ["train=null"])).goal.upstream_first()}
    assert stages == {"prepare", "index", "evaluate", "grade", "aggregate"}


def test_local_model_is_known_by_its_content_and_not_by_its_path(tmp_path):
    for folder in ("here/student", "there/student"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text("{}")
    plans = [plan(load(Experiment, [f"student={tmp_path / folder}"])) for folder in ("here/student", "there/student")]
    assert plans[0].goal.fingerprint == plans[1].goal.fingerprint
    assert [list(p.models.values()) for p in plans] == [[str(tmp_path / "here/student")], [str(tmp_path / "there/student")]]
    (tmp_path / "there/student/config.json").write_text('{"changed": 1}')
    assert str(tmp_path) not in str(plans[0].goal.identity)


@pytest.mark.parametrize("sources, words", [
    (["selct.rule=max"], "Did you mean: 'select'"),
    (["select.rul=max"], "Did you mean: 'rule'"),
    (["train.rank=many"], "train.rank: Value 'many' .* could not be converted to Integer"),
    (["select.rule=mid"], "no selection rule 'mid'; there are .*min.*To add one"),
    (["train.weights.final=-1"], "weights.final must be a finite number of at least 0, got -1"),
    (["train.weights=heavy"], "train.weights='heavy' is none of smartad, uniform, thought_heavy, action_heavy; .* give reason"),
    (["train.loss=sad_kl", "train.weights=uniform"], "collect.top_logprobs is null: set it .*the scripted one has none"),
    (["train.loss=sad_sum"], "final=2.0 must equal .*weights=uniform has them equal, and configs/method/sad"),
    (["configs/mint_math.yaml", "train.loss=sad_kl", "train.weights=uniform"], "which an imported pool has not; use"),
    (["collect.top_logprobs=5"], "collect.top_logprobs=5: the scripted teacher has no log-probabilities"),
    (["collect.teacher=org/model", "collect.top_logprobs=0"], "collect.top_logprobs must be at least 1, got 0"),
    (["select.first=99"], "select.first=99 asks for more than collect.samples=15"),
    (["benchmarks.in_domain=[gsm]"], "no benchmark 'gsm'; there are .*toy_math.*write smartad/benchmarks/gsm.py"),
    (["benchmarks.in_domain=[toy_math, toy_math]"], "benchmarks names 'toy_math' twice"),
    (["corpus=wikipedia"], "no corpus 'wikipedia'; there are .*toy"),
    (["dialect=xml"], "dialect='xml' is unknown; there are cot, mint, paper, smolagents, text"),
    (["train.dialect=xml"], "train.dialect='xml' is unknown; there are cot, mint, paper, smolagents, text"),
    (["train.scheduler=constant", "train.warmup=0.1"], "train.warmup=0.1 does nothing with train.scheduler=constant"),
    (["evaluate.prompt=long"], "evaluate.prompt='long' is unknown; there are code, cot, mint, student, teacher, toy, toy_cot"),
    (["limits.questions=0"], "limits.questions must be at least 1, got 0"),
    (["student=/no/such/model"], "no model folder /no/such/model"),
    (["configs/missing.yaml"], "no file configs/missing.yaml"),
    (["grade.math=[judge]"], "no grader 'judge'; there are .*exact"),
    (["train=null", "train.rank=4"], "train.rank=4: train is null here"),
    (["student=model/in/a/typo"], "no model folder model/in/a/typo"),
    ([" = 3"], "an override is written dotted.key=value"),
])
def test_bad_configuration_is_named(sources, words):
    with pytest.raises(ValueError, match=words):
        plan(load(Experiment, sources))


@pytest.mark.parametrize("text, words", [
    ("arms: {a: {seed: 1}, a: {seed: 2}}", "found duplicate key a"),
    ("armz: {}", "Did you mean: 'arms'"),
    ("{}", "declares neither arms nor a space"),
    ("arms: {a: {selct.rule: min}}", "trial 'a': selct"),
    ("arms: {a: [1]}", "arm 'a': expected a mapping"),
    ("space: {select.rule: min}", "space.select.rule: expected a list"),
    ("space: {select.rule: []}", "space.select.rule: no values"),
    ("space: {train.rank: {low: 4, high: 2}}", "low=4 must be below high=2"),
    ("space: {train.rank: {low: 1, high: 2}}", "a grid needs a list of values"),
    ("space: {train.rank: [4, many]}", "trial 'train.rank=many'"),
    ("seeds: [0, 0]", "each once"),
    ("arms: {a: {}}\nmetric: accuracy", "metric='accuracy' is not measured; there are avg, pass@1/toy_math"),
    ("arms: {a: {}}\nbackend: bayes", "no backend 'bayes'; there are grid, optuna"),
    ("backend: optuna\nspace: {select.rule: [min, max]}", "needs `trials`"),
    ("space: {train.rank: [4, 4]}", "4 is there twice"),
    ("arms: {a: {}, b: {benchmarks.in_domain: [toy_qa]}}", "'a' and 'b' have different benchmarks"),
    ("arms: {a: {train: null, train.rank: 4}}", "trial 'a': train.rank=4: train is null here"),
    ("arms: {a: {}}\nbase: [nowhere.yaml]", "no file .*nowhere.yaml"),
    ("arms: {a: {}}\nstopping: nonsense", "bad.yaml: stopping=nonsense: expected {rule: NAME} .* the rules wilcoxon, asha"),
    ("arms: {a: {}}\nstopping: {p: 0.1}", "there are the rules wilcoxon, asha"),
    ("- a list", "expected a mapping"),
    ("a: [", "cannot be read"),
])
def test_bad_sweep_file_is_named(tmp_path, text, words):
    path = tmp_path / "bad.yaml"
    path.write_text(text + "\n")
    with pytest.raises(ConfigError, match=words):
        proposers.of(read(str(path)))


@pytest.mark.parametrize("text, words", [
    ("stages: {trian: {cpus: 2}}", r"site.yaml: stages.trian: .* aggregate. Did you mean 'train'\?"),
    ("stages: {cook: {cpus: 2}}", r"site.yaml: stages.cook: .* aggregate.$"),
    ("stages: {train: {cpu: 2}}", r"site.yaml: stages.train: .*'cpu'.*Did you mean: 'cpus'\?"),
    ("default: {partitoin: gpu}", r"site.yaml: default: .*Did you mean: 'partition'\?"),
    ("stages: {train: 3}", "site.yaml: stages.train: expected what it asks for, .* got 3"),
    ("slots: -1", "site.yaml: slots=-1 must be at least 0"),
])
def test_bad_profile_is_named_with_its_file_and_what_was_meant(tmp_path, text, words):
    (tmp_path / "site.yaml").write_text(text + "\n")
    with pytest.raises(ConfigError, match=words):
        load(ClusterConfig, [str(tmp_path / "site.yaml")])


@pytest.mark.parametrize("value", [1, 2.5, "a, b", "x=y", True, None, [1, 2], {"a": 1.5}, "1", "null", "- x"])
def test_override_of_any_value_is_read_back_as_it_was(value):
    @dataclasses.dataclass
    class Anything:
        anything: Any = 0
    assert load(Anything, [override("anything", value)]).anything == value


@pytest.mark.slow
@pytest.mark.parametrize("values", [
    {}, {"seed": 3}, {"select.rule": "max", "train.weights.final": 3, "seed": 1},
    {"student": "org/other", "score.student": "org/third"}, {"score.student": "org/third", "student": "org/other"},
    {"train": None}, {"train": {"rank": 4, "weights": {"final": 3}}}, {"train.weights": {"reason": 2, "action": 1, "final": 1}},
    {"train_sets": ["toy_qa"], "limits.questions": None}, {"select.first": 15, "collect.samples": 20},
    {"train": {"rank": 4}, "train.alpha": 8}, {"train.weights": "uniform"}, {"train": {"weights": "action_heavy"}},
    {"train.weights": "thought_heavy", "train.weights.final": 3}, {"train.weights.final": 3, "train.weights": "uniform"},
])
@pytest.mark.parametrize("base", [[], [str(ROOT / "configs/toy.yaml"), "train.rank=2"], ["train=null"]])
def test_template_makes_what_loading_everything_makes(base, values):
    sources = [*base, *(override(key, value) for key, value in values.items())]
    try:
        expected = load(Experiment, sources)
    except ConfigError as error:
        with pytest.raises(ConfigError) as caught:
            Template(Experiment, base).load(values)
        assert str(caught.value) == str(error)
    else:
        template = Template(Experiment, base)
        assert template.load(values) == template.load(values) == expected
        assert template.load({}) == load(Experiment, base), "one load leaves nothing behind for the next"


@pytest.mark.parametrize("values", [{"selct.rule": "max"}, {"train.rank": "many"}, {"select.first": 99}, {"select": 3},
                                    {"select.rule.deep": 1}, {"train": None, "train.rank": 4}, {"seed": None},
                                    {"train.weights": "heavy"}])
def test_template_says_of_bad_values_what_loading_says(values):
    with pytest.raises(ConfigError) as expected:
        load(Experiment, [override(key, value) for key, value in values.items()])
    with pytest.raises(ConfigError) as caught:
        Template(Experiment, []).load(values)
    assert str(caught.value) == str(expected.value)


def test_defaults_are_the_papers():
    experiment = load(Experiment, [])
    assert experiment.train.weights == SegmentWeights(1.0, 1.5, 2.0)
    assert (experiment.train.rank, experiment.train.alpha, experiment.train.dropout) == (64, 128, 0.05)
    assert (experiment.train.learning_rate, experiment.train.epochs, experiment.train.batch_size) == (2e-4, 2, 4)
    assert (experiment.train.max_length, experiment.select.first, experiment.collect.temperature) == (10_240, 10, 1.0)
    assert (experiment.evaluate.max_steps, experiment.evaluate.temperature, experiment.evaluate.top_k) == (5, 0.0, 3)
