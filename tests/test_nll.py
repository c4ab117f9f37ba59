"""Eq. 3 against the paper's turn-by-turn loop, written differently."""

import dataclasses
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, BloomConfig, Gemma2Config, LlamaConfig, MambaConfig, MistralConfig, Qwen2Config

from small_pools import question, ragged, trajectory
from smartad.dialect import chat
from smartad.engines.encoding import encode, render
from smartad.engines.loading import load_model, load_tokenizer
from smartad.engines.nll import Scorer, common_prefix
from smartad.models import identify
from smartad.stage import Runtime
from smartad.types import Segment, UserError

SYSTEM = "Solve it."
TOLERANCE = 1e-5
"""Nats per token."""


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(identify("toy"), {})


SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "initializer_range": 0.3}


def built(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(scope="module")
def model(tokenizer):
    return built(Qwen2Config(vocab_size=len(tokenizer), **SMALL))


@pytest.fixture(scope="module")
def pool(tokenizer):
    trajectories = ragged(3, 4)
    return trajectories, [encode(tokenizer, question(0), t, system=SYSTEM) for t in trajectories]


@torch.no_grad()
def turn_loop(model, tokenizer, trajectory, shift=0, history=True, asked=0, end=True):
    """Section 3.2 as it is told: for each turn build the history, feed it with the turn, average.  ``shift`` and
    ``history`` break it, to see that the comparison notices."""
    messages = chat(question(asked), trajectory.steps, SYSTEM)
    means = []
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = render(tokenizer, messages[:i], generate=True) if history else "<|im_start|>assistant\n"
        h = tokenizer(before, add_special_tokens=False)["input_ids"]
        y = tokenizer(message["content"] + "<|im_end|>", add_special_tokens=False)["input_ids"][:None if end else -1]
        probabilities = model(torch.tensor([h + y])).logits[0].double().softmax(-1)
        means.append(-sum(math.log(probabilities[len(h) + j - 1 + shift, token]) for j, token in enumerate(y)) / len(y))
    return means


def means(rows):
    """Of the turns, in their order."""
    return [[turn.nll for _, turn in sorted(row.items())] for row in rows]


def agrees(results, expected):
    return all(abs(mean - other) <= TOLERANCE for row, others in zip(means(results), expected, strict=True)
               for mean, other in zip(row, others, strict=True))


def test_scorer_of_a_ragged_pool_equals_the_turn_by_turn_loop(model, tokenizer, pool):
    trajectories, examples = pool
    assert Scorer(model).obstacle is None
    results = Scorer(model).turns(examples)
    assert agrees(results, [turn_loop(model, tokenizer, t) for t in trajectories])
    assert [sorted(row) for row in results] == [list(range(len(t.steps))) for t in trajectories]


def test_scorer_of_examples_that_begin_alike_with_the_system_prompt_alone_equals_the_loop(model, tokenizer):
    trajectories = ragged(3, 2)
    asked = [int(t.question_id.removeprefix("toy/")) for t in trajectories]
    examples = [encode(tokenizer, question(n), t, system=SYSTEM) for n, t in zip(asked, trajectories, strict=True)]
    expected = [turn_loop(model, tokenizer, t, asked=n) for n, t in zip(asked, trajectories, strict=True)]
    assert agrees(Scorer(model).turns(examples), expected)


@pytest.mark.parametrize("broken", [{"shift": 1}, {"history": False}])
def test_scorer_differs_from_a_broken_loop(model, tokenizer, pool, broken):
    trajectories, examples = pool
    assert not agrees(Scorer(model).turns(examples), [turn_loop(model, tokenizer, t, **broken) for t in trajectories])


samples = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 6), st.booleans()), min_size=1, max_size=5)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pools=st.lists(samples, min_size=1, max_size=3), asked=st.integers(0, 10**6), batch_tokens=st.sampled_from([1, 300, None]),
       end=st.booleans(), knows=st.booleans())
def test_scorer_of_any_questions_equals_the_loop_and_chooses_the_same(model, tokenizer, pools, asked, batch_tokens, end, knows):
    """Any number of samples, of turns, of words, turns of one token among them, with and without a common beginning known."""
    def sample(number, turns, words, terse):
        made = trajectory(number, turns=turns, words=words)
        return dataclasses.replace(made, steps=(dataclasses.replace(made.steps[0], text="x"), *made.steps[1:])) if terse else made

    questions = [[sample(asked + 7 * n, *given) for given in pool] for n, pool in enumerate(pools)]
    encoded = [[encode(tokenizer, question(asked + 7 * n), t, system=SYSTEM) for t in pool] for n, pool in enumerate(questions)]
    every = [example for examples in encoded for example in examples]
    common = every[0].input_ids[:common_prefix(every)] if knows else (9, 9, 9)
    scorer = Scorer(model, common, end_of_turn=end, batch_tokens=batch_tokens)
    for n, (pool, examples) in enumerate(zip(questions, encoded, strict=True)):
        expected = [turn_loop(model, tokenizer, t, asked=asked + 7 * n, end=end) for t in pool]
        results = scorer.turns(examples)
        assert agrees(results, expected)
        found, right = ([sum(row) / len(row) for row in rows] for rows in (means(results), expected))
        assert right[found.index(min(found))] <= min(right) + 2 * TOLERANCE, "equal ones apart, the same argmin"


@pytest.mark.parametrize(("config", "obstacle"), [
    (LlamaConfig, None),
    (MistralConfig, "attends to the last 8 tokens only"),
    (Gemma2Config, "layers of sliding_attention"),
    (MambaConfig, "layers of linear_attention"),
    (BloomConfig, "its forward does not take it"),
])
def test_scorer_of_another_architecture_equals_the_loop_sharing_or_not(tokenizer, pool, config, obstacle):
    trajectories, examples = pool
    other = built(config(vocab_size=len(tokenizer), **SMALL, **({"head_dim": 8} if config is Gemma2Config else {}),
                         **({"sliding_window": 8} if config in (MistralConfig, Gemma2Config) else {})))
    scorer = Scorer(other, examples[0].input_ids[:5])
    assert scorer.obstacle is obstacle if obstacle is None else obstacle in scorer.obstacle
    assert agrees(scorer.turns(examples[:6]), [turn_loop(other, tokenizer, t) for t in trajectories[:6]])


@pytest.mark.parametrize(("changes", "obstacle"), [
    ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}}, "rotary embedding is dynamic"),
    ({"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, "layers of sliding_attention"),
])
def test_scorer_of_a_model_that_depends_on_length_scores_one_by_one(tokenizer, changes, obstacle):
    assert obstacle in Scorer(built(Qwen2Config(vocab_size=len(tokenizer), **SMALL, **changes))).obstacle


def test_scorer_of_attention_that_adds_something_finds_it_by_its_logits(tokenizer):
    capped = built(Gemma2Config(vocab_size=len(tokenizer), **SMALL, head_dim=8, attn_logit_softcapping=0.5,
                                layer_types=["full_attention"] * 2))
    assert "logits would differ" in Scorer(capped).obstacle


def test_scorer_ranks_tokens_as_sorting_the_whole_vocabulary_does(model, tokenizer, pool):
    trajectories, examples = pool
    with torch.no_grad():
        logits = model(torch.tensor([examples[5].input_ids])).logits[0].tolist()
    expected = {turn: [] for turn in range(len(trajectories[5].steps))}
    for i, turn in enumerate(examples[5].turns):
        if turn >= 0:
            order = sorted(range(len(tokenizer)), key=lambda token, at=i: -logits[at - 1][token])
            expected[turn].append(min(100, 1 + order.index(examples[5].input_ids[i])))
    found = Scorer(model).turns(examples)[5]
    assert {turn: found[turn].rank for turn in found} == pytest.approx(
        {turn: sum(ranks) / len(ranks) for turn, ranks in expected.items()})
    assert any(100 in ranks for ranks in expected.values()), "some are clipped"


def test_scorer_gives_tokens_that_are_equally_likely_the_best_of_their_ranks(tokenizer, pool):
    even = built(Qwen2Config(vocab_size=len(tokenizer), **SMALL))
    torch.nn.init.zeros_(even.lm_head.weight)
    for turn in Scorer(even).turns(pool[1])[0].values():
        assert (turn.rank, turn.nll) == (1.0, pytest.approx(math.log(len(tokenizer))))


@pytest.mark.slow
def test_scorer_in_bf16_is_near_fp32_however_far_back_it_looks():
    """Rotary frequencies rounded like weights would turn by whole radians after a thousand tokens."""
    tokenizer = load_tokenizer(identify("toy"), {})
    long = encode(tokenizer, question(1), trajectory(1, turns=3, words=900), system=SYSTEM)
    exact, rounded = ([turn.nll for turn in Scorer(load_model(identify("toy"), Runtime(), dtype)).turns([long])[0].values()]
                      for dtype in ("fp32", "bf16"))
    assert len(long.input_ids) > 2000 and exact != rounded
    assert rounded == pytest.approx(exact, rel=0.02)


def test_scorer_without_end_of_turn_counts_one_token_less_per_turn(model, pool):
    _, examples = pool
    with_end, without = Scorer(model).turns(examples), Scorer(model, end_of_turn=False).turns(examples)
    assert [[turn.tokens - 1 for turn in row.values()] for row in with_end] == [
        [turn.tokens for turn in row.values()] for row in without]


def test_scorer_leaves_an_invented_observation_out(model, tokenizer):
    honest = trajectory(1)
    step = dataclasses.replace(honest.steps[0], text=honest.steps[0].text + "\nObservation: 7")
    invented = encode(tokenizer, question(1), dataclasses.replace(honest, steps=(step,)), system=SYSTEM)
    [turns] = Scorer(model).turns([invented])
    assert turns[0].tokens == sum(segment != Segment.CONTEXT for segment in invented.segments)
    assert turns[0].tokens < sum(turn == 0 for turn in invented.turns)


def test_scorer_of_an_empty_turn_without_its_end_names_the_trajectory(model, tokenizer):
    empty = dataclasses.replace(trajectory(3, sample=2), steps=(dataclasses.replace(trajectory(3).steps[0], text=""),))
    example = encode(tokenizer, question(3), empty, system=SYSTEM)
    Scorer(model).turns([example])
    with pytest.raises(UserError, match="toy/3 sample 2: turn 0 has no token"):
        Scorer(model, end_of_turn=False).turns([example])


@pytest.mark.slow
def test_scorer_with_qwens_vocabulary_equals_the_loop(real_data):
    tokenizer = load_tokenizer_at(real_data / "qwen2.5-tokenizer")
    small = built(Qwen2Config(vocab_size=len(tokenizer), **{**SMALL, "hidden_size": 16, "num_hidden_layers": 1}))
    t = trajectory(2, turns=2, words=1)
    results = Scorer(small).turns([encode(tokenizer, question(0), t, system=SYSTEM)])
    assert agrees(results, [turn_loop(small, tokenizer, t)])


def load_tokenizer_at(folder):
    from transformers import AutoTokenizer
    return AutoTokenizer.from_pretrained(folder)
