"""Eq. 3 against the paper's turn-by-turn loop, written differently."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Qwen2Config, Qwen2ForCausalLM

from small_pools import question, ragged, trajectory
from smartad.dialect import chat
from smartad.engines.encoding import encode, render
from smartad.engines.loading import load_tokenizer
from smartad.engines.nll import fixed_batches, turn_nll
from smartad.models import identify
from smartad.types import Segment, UserError

SYSTEM = "Solve it."
TOLERANCE = 1e-5
"""Nats per token."""


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(identify("toy"), {})


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                        num_attention_heads=4, num_key_value_heads=2, vocab_size=len(tokenizer),
                                        initializer_range=0.3)).eval()


@pytest.fixture(scope="module")
def pool(tokenizer):
    trajectories = ragged(3, 4)
    return trajectories, [encode(tokenizer, question(0), t, system=SYSTEM) for t in trajectories]


@torch.no_grad()
def turn_loop(model, tokenizer, trajectory, shift=0, history=True):
    """Section 3.2 as it is told: for each turn build the history, feed it with the turn, average.  ``shift`` and
    ``history`` break it, to see that the comparison notices."""
    messages = chat(question(0), trajectory.steps, SYSTEM)
    means = []
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = render(tokenizer, messages[:i], generate=True) if history else "<|im_start|>assistant\n"
        h = tokenizer(before, add_special_tokens=False)["input_ids"]
        y = tokenizer(message["content"] + "<|im_end|>", add_special_tokens=False)["input_ids"]
        probabilities = model(torch.tensor([h + y])).logits[0].double().softmax(-1)
        means.append(-sum(math.log(probabilities[len(h) + j - 1 + shift, token]) for j, token in enumerate(y)) / len(y))
    return means


def agrees(results, expected):
    return all(abs(mean - other) <= TOLERANCE for row, others in zip(results, expected, strict=True)
               for (mean, *_), other in zip(row, others, strict=True))


def test_turn_nll_of_a_ragged_batch_equals_the_turn_by_turn_loop(model, tokenizer, pool):
    trajectories, examples = pool
    results = turn_nll(model, examples)
    assert agrees(results, [turn_loop(model, tokenizer, t) for t in trajectories])
    assert [len(row) for row in results] == [len(t.steps) for t in trajectories]


@pytest.mark.parametrize("broken", [{"shift": 1}, {"history": False}])
def test_turn_nll_differs_from_a_broken_loop(model, tokenizer, pool, broken):
    trajectories, examples = pool
    assert not agrees(turn_nll(model, examples), [turn_loop(model, tokenizer, t, **broken) for t in trajectories])


def test_turn_nll_of_one_batch_equals_one_by_one(model, pool):
    _, examples = pool
    alone = [turn_nll(model, [example])[0] for example in examples]
    assert agrees(turn_nll(model, examples), [[mean for mean, *_ in row] for row in alone])


@torch.no_grad()
def test_turn_nll_ranks_are_places_in_the_order_of_the_logits(model, tokenizer, pool):
    _, examples = pool
    for example, turns in zip(examples, turn_nll(model, examples), strict=True):
        order = model(torch.tensor([example.input_ids])).logits[0].argsort(descending=True).tolist()
        places = [(turn, min(100, 1 + order[i].index(example.input_ids[i + 1]))) for i, turn in enumerate(example.turns[1:])]
        for number, (_, count, rank) in enumerate(turns):
            assert rank == pytest.approx(sum(place for turn, place in places if turn == number) / count)


def test_turn_nll_without_end_of_turn_counts_one_token_less_per_turn(model, pool):
    _, examples = pool
    with_end, without = turn_nll(model, examples), turn_nll(model, examples, end_of_turn=False)
    assert [[count - 1 for _, count, _ in row] for row in with_end] == [[count for _, count, _ in row] for row in without]


def test_turn_nll_leaves_an_invented_observation_out(model, tokenizer):
    honest = trajectory(1)
    step = dataclasses.replace(honest.steps[0], text=honest.steps[0].text + "\nObservation: 7")
    invented = encode(tokenizer, question(1), dataclasses.replace(honest, steps=(step,)), system=SYSTEM)
    [[(_, count, _)]] = turn_nll(model, [invented])
    assert count == sum(segment != Segment.CONTEXT for segment in invented.segments)
    assert count < sum(turn == 0 for turn in invented.turns)


def test_turn_nll_of_an_empty_turn_without_its_end_names_the_trajectory(model, tokenizer):
    empty = dataclasses.replace(trajectory(3, sample=2), steps=(dataclasses.replace(trajectory(3).steps[0], text=""),))
    example = encode(tokenizer, question(3), empty, system=SYSTEM)
    turn_nll(model, [example])
    with pytest.raises(UserError, match="toy/3 sample 2: turn 0 has no token"):
        turn_nll(model, [example], end_of_turn=False)


def test_turn_nll_that_is_not_finite_names_the_trajectory(tokenizer, model):
    damaged = Qwen2ForCausalLM(model.config)
    with torch.no_grad():
        damaged.lm_head.weight[7] = float("nan")
    example = encode(tokenizer, question(3), trajectory(3, sample=1), system=SYSTEM)
    with pytest.raises(UserError, match=r"toy/3 sample 1.*not finite"):
        turn_nll(damaged, [example])


@given(st.lists(st.integers(1, 500), max_size=60), st.integers(1, 2000))
def test_fixed_batches_hold_everything_once_within_the_budget(lengths, budget):
    batches = fixed_batches(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget for batch in batches)


@pytest.mark.slow
def test_turn_nll_with_qwens_vocabulary_equals_the_loop(real_data):
    tokenizer = load_tokenizer_at(real_data / "qwen2.5-tokenizer")
    torch.manual_seed(0)
    small = Qwen2ForCausalLM(Qwen2Config(hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                         num_attention_heads=2, num_key_value_heads=1, vocab_size=len(tokenizer),
                                         initializer_range=0.5)).eval()
    t = trajectory(2, turns=2, words=1)
    results = turn_nll(small, [encode(tokenizer, question(0), t, system=SYSTEM)])
    assert agrees(results, [turn_loop(small, tokenizer, t)])


def load_tokenizer_at(folder):
    from transformers import AutoTokenizer
    return AutoTokenizer.from_pretrained(folder)
