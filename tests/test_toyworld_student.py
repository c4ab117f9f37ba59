"""The committed base student, and the script that rebuilds it."""

import json
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from smartad import benchmarks, dialect
from smartad.engines.loading import load_tokenizer
from smartad.models import TOY_FOLDER, identify
from smartad.toyworld import pretrain
from smartad.toyworld.pretext import document, episode
from smartad.toyworld.problems import by_text
from smartad.toyworld.world import world
from smartad.types import Message


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(identify("toy"), {})


def render(tokenizer, messages: list[Message], prompt: bool = False) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)


def test_student_is_under_a_megabyte_in_fp16():
    files = [f for f in TOY_FOLDER.iterdir() if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 1_000_000
    assert json.loads((TOY_FOLDER / "config.json").read_text())["dtype"] == "float16"


def test_student_folder_has_a_model_card():
    card = (TOY_FOLDER / "README.md").read_text()
    assert "python -m smartad.toyworld.pretrain" in card
    assert "pass@1" in card


def test_student_is_a_qwen2_with_room_for_real_questions():
    config = AutoModelForCausalLM.from_pretrained(TOY_FOLDER).config
    assert config.model_type == "qwen2"
    assert config.max_position_embeddings >= 4096


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=200))
def test_tokenizer_decodes_any_text_to_itself(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("name", ["math500", "bamboogle"])
def test_tokenizer_decodes_real_questions_to_themselves(name, tokenizer, real_data):
    module = benchmarks.get(name)
    for question in module.load(real_data / module.SOURCE.file):
        assert tokenizer.decode(tokenizer(question.text, add_special_tokens=False)["input_ids"]) == question.text


def test_chat_template_is_prefix_stable_and_ends_every_turn_with_a_newline(tokenizer):
    messages = next(m for m in (episode(random.Random(seed)) for seed in range(99)) if len(m) >= 7)
    whole = render(tokenizer, messages)
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            assert whole.startswith(render(tokenizer, messages[:i], prompt=True) + message["content"] + "<|im_end|>\n")


def test_pretraining_tokens_are_those_of_the_chat_template(tokenizer):
    rng = random.Random(1)
    for _ in range(50):
        messages = document(rng)
        ids, weights = pretrain.weighted(tokenizer, messages)
        assert ids == tokenizer(render(tokenizer, messages), add_special_tokens=False)["input_ids"]
        assert len(weights) == len(ids)


def test_pretraining_asks_no_benchmark_question():
    rng = random.Random(2)
    for _ in range(2000):
        asked = {line for m in document(rng) if m["role"] == "user" for line in m["content"].split("\n")}
        assert not asked & by_text().keys()


def test_pretraining_episodes_have_the_form_of_real_ones_and_mostly_no_final_answer():
    rng = random.Random(3)
    episodes = [episode(rng) for _ in range(1000)]
    for messages in episodes:
        assert messages[0]["content"] == dialect.PROMPTS["toy"]
        assert messages[1]["content"].startswith(dialect.task_message(""))
        assert messages[-1]["role"] == "assistant"
        assert all(m["content"].startswith("Observation:\nExecution logs:\n") for m in messages[3::2])
    final = sum("final_answer(" in messages[-1]["content"] for messages in episodes)
    assert 0.2 < final / len(episodes) < 0.4


def test_tokenizer_gives_a_name_several_tokens_and_the_same_ones_everywhere(tokenizer):
    for person in world().things["person"]:
        first, last = person.split()
        alone = tokenizer.tokenize(last)
        assert len(alone) > 1
        assert tokenizer.tokenize(f" {last}")[1:] == alone
        assert tokenizer.tokenize(f'"{first} {last}"')[-1 - len(alone):-1] == alone


def test_tokenizer_splits_as_its_file_says_and_not_as_the_models_type_suggests(tokenizer):
    said = Tokenizer.from_file(str(TOY_FOLDER / "tokenizer.json"))
    for text in ("earns 37 coins", "final_answer(94 - 33 + 2 * 22)", 'web_search("Koni Latora born")'):
        assert tokenizer(text)["input_ids"] == said.encode(text).ids
    assert "37" in tokenizer.tokenize("earns 37 coins")


@pytest.mark.slow
def test_tokenizer_can_be_rebuilt_exactly(tokenizer):
    rebuilt = pretrain.build_tokenizer()
    assert rebuilt.get_vocab() == tokenizer.get_vocab()
    rng = random.Random(4)
    texts = [render(tokenizer, document(rng)) for _ in range(200)]
    assert rebuilt(texts)["input_ids"] == tokenizer(texts)["input_ids"]


@pytest.mark.slow
def test_a_few_steps_of_pretraining_learn_and_are_repeatable(tokenizer):
    losses = []
    for steps in (1, 75, 75):
        torch.manual_seed(0)
        losses.append(pretrain.train(pretrain.build_model(tokenizer), tokenizer, steps))
    assert losses[1] < 0.9 * losses[0]
    assert losses[1] == losses[2]
