"""A full model made of base and adapter: what they are together, in the base's own dtype, or refused."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from command import smartad
from small_adapters import TRAIN, pull, real
from smartad.engines.loading import load_model, load_tokenizer
from smartad.models import identify
from smartad.registry import pulled
from smartad.stage import Runtime
from smartad.types import UserError

pytestmark = pytest.mark.slow
TEXT = "A garden is 12 m long and 7 m wide."


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """The toy student with weights in float32: (identity, folder)."""
    folder = tmp_path_factory.mktemp("students") / "exact"
    load_model(identify("toy"), Runtime()).save_pretrained(folder)
    load_tokenizer(identify("toy"), {}).save_pretrained(folder)
    return identify(str(folder)), folder


def test_merged_model_is_loaded_without_peft_and_is_base_and_adapter(store, tmp_path):
    together = real(store)
    made = pull(store, TRAIN, tmp_path / "out", merge=Runtime())
    alone = AutoModelForCausalLM.from_pretrained(tmp_path / "out/merged")
    assert alone.dtype == torch.float16 and made.merged.dtype == "float16"
    tokenizer, own = load_tokenizer(identify("toy"), {}), identify(str(tmp_path / "out/merged"))
    assert load_tokenizer(own, {own: str(tmp_path / "out/merged")})(TEXT) == tokenizer(TEXT)
    ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
    with torch.no_grad():
        difference = (alone.float()(ids).logits - together(ids).logits).abs().max()
        with together.disable_adapter():
            assert (alone(ids).logits - together(ids).logits).abs().max() > 10 * made.merged.bound
    assert difference < made.merged.bound
    assert 0 < made.merged.difference < made.merged.bound and 0 < made.merged.equal <= made.merged.prompts == 3


def test_merged_model_in_float32_answers_the_same(store, tmp_path, exact):
    base, folder = exact
    real(store, folder=folder)
    made = pull(store, TRAIN, tmp_path / "out", models={base: str(folder)}, merge=Runtime(models={base: str(folder)}))
    assert (made.merged.dtype, made.merged.equal) == ("float32", made.merged.prompts)
    assert made.merged.difference < 1e-3


def test_merged_model_is_told_of_in_the_cards_and_has_checksums(store, tmp_path):
    real(store)
    said = smartad("pull", TRAIN, "--to", tmp_path / "out", "--merge", store=store.root).stdout
    card = pulled.read(tmp_path / "out")
    assert f"{card['merged']['equal']} of 3 greedy answers equal" in said
    assert "`merged/` is the full model in float16" in (tmp_path / "out/README.md").read_text()
    weights = tmp_path / "out/merged/model.safetensors"
    assert card["files"]["merged/model.safetensors"]["size"] == weights.stat().st_size
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="merged/model.safetensors has changed"):
        pulled.read(tmp_path / "out")


def test_merge_that_makes_another_model_is_refused_and_leaves_nothing(store, tmp_path):
    real(store, alpha=800)  # weights that float16 holds too coarsely
    with pytest.raises(UserError, match=r"makes another model: .* more than the 0.1 that rounding to float16 .*without --merge"):
        pull(store, TRAIN, tmp_path / "out", merge=Runtime())
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_merge_into_a_base_of_another_dtype_is_refused(store, tmp_path, exact):
    _, folder = exact
    other = tmp_path / "double"
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).save_pretrained(other)
    load_tokenizer(identify("toy"), {}).save_pretrained(other)
    assert json.loads((other / "config.json").read_text())["dtype"] == "float64"
    base = identify(str(other))
    real(store, folder=other)
    with pytest.raises(UserError, match="weights of float64, to which nothing is merged; there are float32, float16, bfloat16"):
        pull(store, TRAIN, tmp_path / "out", models={base: str(other)}, merge=Runtime(models={base: str(other)}))
