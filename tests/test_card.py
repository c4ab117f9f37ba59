"""The model card: as the model hub reads it, with everything that a person who is given the adapter may ask."""

import dataclasses
import json
import math

import pytest
import yaml

from made_up import declare, finish, launch, of
from small_adapters import TRAIN, finish_adapters, finished, pull
from smartad import benchmarks, corpora, models, stats
from smartad.registry import pulled
from smartad.registry.card import card
from smartad.registry.provenance import about

pytestmark = pytest.mark.slow


@pytest.fixture
def adapter(store, tmp_path):
    """The adapter of arm ``min`` of a finished sweep of made-up outputs."""
    book, specs = launch(store, declare(tmp_path))
    finish(store, of(specs, "prepare"), questions=96)
    finish(store, of(specs, "grade"), correct=9, n=12, ungraded=3)
    finish_adapters(store, specs)
    finish(store, specs)
    return book.trials[1].runs[0].train


def evaluations(store, adapter):
    """Fingerprints of what the adapter was evaluated in."""
    return [f for f in store.fingerprints() if f.startswith("evaluate-")
            and store.record(f)["identity"]["inputs"].get("adapter") == adapter]


def change(store, fingerprint, **keys):
    """Write other values into its record."""
    path = store.folder(fingerprint) / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def front_matter(text):
    _, front, rest = text.split("---\n", 2)
    return yaml.safe_load(front), rest


def test_card_of_an_evaluated_adapter_answers_what_one_may_ask(store, adapter, tmp_path):
    made = pull(store, adapter, tmp_path / "out")
    _, text = front_matter((tmp_path / "out/README.md").read_text())
    low, high = wilson(9, 12)
    assert f"| toy_qa3 | 75.0 | {low:.1f} to {high:.1f} | 9 / 12 | 3 | exact/1 |" in text
    assert "the rule `min` chose one" in text and "K = 10" in text and "15 times, at temperature 1" in text
    assert "reason : action : final = 1 : 1.5 : 2, seed 0" in text and "rank 16, alpha 32" in text
    assert f"base model `toy` at `{made.about.base.partition('@')[2]}`" in text
    assert "96 examples, 48 steps, loss 0.6 to 0.125" in text and "`c0ffee`" in text
    assert "node7" in text and "torch 2.13.0" in text
    for stage in ("prepare", "index", "collect", "grade", "score", "select", "train"):
        assert f"| `{stage}-" in text
    assert "| questions of toy_train | apache-2.0 |" in text and "| teacher toy | apache-2.0 |" in text
    recipe = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert recipe["select"]["rule"] == "min" and recipe["collect"]["samples"] == 15 and recipe["train"]["weights"]["final"] == 2


def test_card_says_how_models_were_asked_where_they_did_not_act_turn_by_turn(store, adapter):
    made = about(store, adapter, {})
    text = card(made, "x", None)
    assert "at temperature 1.\n" in text and "at temperature 0, with at most" in text
    recipe = {**made.recipe, "collect": {**made.recipe["collect"], "first_thought": True},
              "evaluate": {**made.recipe["evaluate"], "candidates": 8, "fallback": True}}
    text = card(dataclasses.replace(made, recipe=recipe), "x", None)
    assert "at temperature 1, each beginning with the first thought of a chain of thought.\n" in text
    assert "at temperature 0, with a vote on 8 candidates of every turn, and asked once more when the steps ran out, with" in text


def test_card_says_behind_which_wall_and_by_which_engine_it_was_evaluated(store, adapter):
    assert "Evaluated" not in card(about(store, adapter, {}), "x", None), "these noted nothing"
    facts = iter([{"sandbox": "bubblewrap 0.8.0", "engine": ["http", "vllm"]}, {"sandbox": "none", "engine": "vllm"}])
    for evaluation in evaluations(store, adapter):
        change(store, evaluation, ran=next(facts, {}))
    made = about(store, adapter, {})
    assert set(made.ran["sandbox"]) == {"bubblewrap 0.8.0", "none"} and set(made.ran["engine"]) == {"http", "vllm"}
    made = dataclasses.replace(made, ran={"sandbox": ("bubblewrap 0.8.0", "none"), "engine": ("http", "vllm")})
    text = card(made, "x", None)
    assert "steps. Evaluated behind bubblewrap 0.8.0 and without a wall, by engine http and vllm. An adapter" in text


def test_card_of_chains_of_thought_has_neither_steps_nor_a_wall(store, adapter):
    made = about(store, adapter, {})
    recipe = {**made.recipe, "evaluate": {**made.recipe["evaluate"], "agent": "cot"}}
    ran = {"sandbox": ("bubblewrap 0.8.0",), "engine": ("vllm",)}
    text = card(dataclasses.replace(made, recipe=recipe, ran=ran), "x", None)
    assert "at temperature 0, in chains of thought. Evaluated by engine vllm. An adapter" in text


def test_card_for_programs_says_the_same(store, adapter, tmp_path):
    pull(store, adapter, tmp_path / "out")
    card = pulled.read(tmp_path / "out")
    low, high = wilson(9, 12)
    score = card["row"]["toy_math"]
    assert (score["correct"], score["n"], score["ungraded"], score["percent"]) == (9, 12, 3, 75.0)
    assert score["low"] == pytest.approx(low) and score["high"] == pytest.approx(high)
    assert store.record(score["source"])["identity"]["stage"] == "grade"
    assert card["lineage"][-1]["fingerprint"] == adapter and card["lineage"][-1]["commit"] == "c0ffee"
    inputs = store.record(adapter)["identity"]["inputs"]
    assert set(inputs.values()) < {origin["fingerprint"] for origin in card["lineage"]}
    assert card["recipe"]["evaluate"]["max_tokens"] == 144 and card["recipe"]["index"] == {"corpus": "toy", "method": "bm25"}


def test_card_is_read_by_the_hub_library(store, adapter, tmp_path):
    from huggingface_hub import ModelCard

    pull(store, adapter, tmp_path / "out")
    data = ModelCard.load(tmp_path / "out/README.md").data
    assert (data.base_model, data.library_name, data.license) == ("toy", "peft", "apache-2.0")
    assert {"smartad", "lora"} <= set(data.tags)


def test_card_of_a_hub_base_names_its_revision_and_says_what_it_does_not_know(store, tmp_path):
    finished(store, base="Qwen/Qwen2.5-1.5B@abc123")
    pull(store, TRAIN, tmp_path / "out")
    front, text = front_matter((tmp_path / "out/README.md").read_text())
    assert front["base_model"] == "Qwen/Qwen2.5-1.5B" and front["license"] == "unknown" and "datasets" not in front
    assert "`Qwen/Qwen2.5-1.5B` at `abc123`" in text and "never evaluated" in text
    assert "| base model Qwen/Qwen2.5-1.5B@abc123 | not known to smartad |" in text


def test_card_of_a_base_without_a_revision_says_so(store, tmp_path):
    finished(store, base="Qwen/Qwen2.5-1.5B")
    pull(store, TRAIN, tmp_path / "out")
    assert "its revision was not pinned" in (tmp_path / "out/README.md").read_text()


def test_lineage_of_what_is_no_longer_in_the_store_is_named_as_gone(store, adapter, tmp_path):
    collect = next(f for f in store.fingerprints() if f.startswith("collect-"))
    (store.folder(collect) / "record.json").unlink()
    known = about(store, adapter, {})
    gone = next(origin for origin in known.lineage if origin.fingerprint == collect)
    assert gone.finished is None and "no longer in the store" in gone.what
    assert known.recipe["collect"] is None


def test_row_is_of_the_latest_way_in_which_it_was_evaluated(store, adapter, tmp_path):
    first = evaluations(store, adapter)[0]
    identity = store.record(first)["identity"]
    change(store, first, started=1000.0, identity={**identity, "config": {**identity["config"], "max_steps": 3}})
    known = about(store, adapter, {})
    assert len(known.row) == 1 and known.recipe["evaluate"]["max_steps"] == 3


def test_licence_of_a_local_model_is_what_its_card_says(tmp_path):
    (tmp_path / "README.md").write_text("---\nlanguage: en\nlicense: 'mit'\n---\n# A model\n")
    assert models.licence("local/x@0", {"local/x@0": str(tmp_path)}) == "mit"
    (tmp_path / "README.md").write_text("# A model\nlicense: mit\n")
    assert models.licence("local/x@0", {"local/x@0": str(tmp_path)}) is None
    assert models.licence("Qwen/Qwen2.5-1.5B@abc", {}) is None


def test_benchmarks_whose_licence_is_not_known_are_those_without_one():
    unknown = {name for name in benchmarks.names() if benchmarks.licence(benchmarks.get(name)) is None}
    assert unknown == {"aime", "amc23", "gaokao"}
    assert all(benchmarks.licence(corpora.get(name)) for name in corpora.names())


def wilson(correct, n):
    """The interval by its formula (Wilson 1927), in percent."""
    z, p = 1.959963984540054, correct / n
    middle, half = (p + z**2 / (2 * n)) / (1 + z**2 / n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return 100 * (middle - half), 100 * (middle + half)


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (5, 10), (10, 10), (1, 500)])
def test_wilson_interval_is_that_of_its_formula(correct, n):
    assert stats.wilson(correct, n) == pytest.approx(wilson(correct, n), abs=1e-9)
