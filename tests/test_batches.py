"""Packed trajectories against each one alone: nothing is seen of a neighbour, nothing is lost."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertGenerationConfig, BertGenerationDecoder, Qwen2Config, Qwen2ForCausalLM

from smartad.engines.batches import Batches, keeps_apart
from smartad.engines.head import head_of, losses_for_logits
from smartad.engines.loss import token_weights
from smartad.engines.recipe import Recipe
from smartad.types import Segment, SegmentWeights, TrainingExample

VOCABULARY = 30
segments = st.lists(st.sampled_from(Segment), min_size=2, max_size=12).filter(lambda row: any(row[1:]))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                                        num_key_value_heads=1, vocab_size=VOCABULARY, initializer_range=0.4)).eval()


def examples(rows):
    generator = torch.Generator().manual_seed(0)
    return [TrainingExample(f"toy/{i}", 0, tuple(torch.randint(VOCABULARY, (len(row),), generator=generator).tolist()),
                            tuple(row), (0,) * len(row)) for i, row in enumerate(rows)]


def gradient_of(model, batches, forwards):
    """(loss, gradient of the first embedding) of a step taken in ``forwards``."""
    model.zero_grad()
    total = sum(batches.total(rows) for rows in forwards)
    value = 0.0
    for rows in forwards:
        tokens = batches.supervised(rows, "cpu")
        inputs = {name: tensor for name, tensor in batches.inputs(rows).items() if name != "rows"}
        with losses_for_logits(head_of(model), tokens.positions_N, tokens.targets):
            losses_N = model(**inputs, use_cache=False).logits
        loss = (losses_N * tokens.shares_N).sum() / total
        loss.backward()
        value += loss.item()
    return value, model.get_input_embeddings().weight.grad.clone()


def plainly(model, rows, weights):
    """Eq. 5 with transformers' logits, trajectory by trajectory."""
    model.zero_grad()
    losses = []
    for example in rows:
        logits = model(torch.tensor([example.input_ids])).logits[0, :-1].log_softmax(-1)
        w = torch.tensor(token_weights(example.segments, weights)[1:])
        losses.append(-(w * logits[range(len(w)), example.input_ids[1:]]).sum() / w.sum())
    loss = sum(losses) / len(losses)
    loss.backward()
    return loss.item(), model.get_input_embeddings().weight.grad.clone()


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(rows=st.lists(segments, min_size=1, max_size=6), tokens=st.integers(1, 40), weights=st.sampled_from(
    [SegmentWeights(), SegmentWeights(1, 1, 1), SegmentWeights(0.5, 3, 1)]))
def test_step_in_packed_padded_or_single_forwards_has_the_gradient_of_eq_5(model, rows, tokens, weights):
    whole = examples(rows)
    packed = Batches(whole, Recipe(weights=weights, micro_batch_tokens=tokens))
    padded = Batches(whole, Recipe(weights=weights, micro_batch_tokens=tokens), apart=False)
    numbers = list(range(len(whole)))
    expected = plainly(model, whole, weights)
    for batches, forwards in ((packed, packed.divided(numbers)), (padded, padded.divided(numbers)), (padded, [numbers]),
                              (Batches(whole, Recipe(weights=weights)), [[n] for n in numbers])):
        loss, gradient = gradient_of(model, batches, forwards)
        assert loss == pytest.approx(expected[0], rel=1e-5)
        torch.testing.assert_close(gradient, expected[1], rtol=1e-4, atol=1e-5)


def test_weights_1_1_1_are_transformers_own_cross_entropy(model):
    row = [Segment.CONTEXT] * 4 + [Segment.REASON] * 3 + [Segment.CONTEXT] * 2 + [Segment.ACTION] * 2 + [Segment.FINAL] * 4
    whole = examples([row, row[2:], row[:11]])
    labels = [[t if s else -100 for t, s in zip(e.input_ids, e.segments, strict=True)] for e in whole]
    losses = [model(torch.tensor([e.input_ids]), labels=torch.tensor([one])).loss.item()
              for e, one in zip(whole, labels, strict=True)]
    batches = Batches(whole, Recipe(weights=SegmentWeights(1, 1, 1), micro_batch_tokens=100))
    assert gradient_of(model, batches, [[0, 1, 2]])[0] == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_packing_without_positions_of_their_own_would_be_noticed(model):
    """A broken control: the comparison above sees a neighbour that is seen."""
    row = [Segment.CONTEXT, *[Segment.REASON] * 9]
    batches = Batches(examples([row, row]), Recipe(micro_batch_tokens=20))
    honest = batches.inputs
    good = gradient_of(model, batches, [[0, 1]])[0]
    batches.inputs = lambda rows: {**honest(rows), "position_ids": torch.arange(20)[None]}
    assert abs(gradient_of(model, batches, [[0, 1]])[0] - good) > 1e-3


@given(rows=st.lists(segments, min_size=1, max_size=12), tokens=st.integers(1, 40), apart=st.booleans())
def test_divided_rows_are_there_once_within_the_budget_and_none_is_cut(rows, tokens, apart):
    batches = Batches(examples(rows), Recipe(micro_batch_tokens=tokens), apart)
    forwards = batches.divided(list(range(len(rows))))
    assert sorted(row for forward in forwards for row in forward) == list(range(len(rows)))
    for forward in forwards:
        assert batches.inputs(forward)["input_ids"].numel() <= tokens or len(forward) == 1
    assert forwards == batches.divided(list(range(len(rows)))[::-1]), "whatever order they come in"


def test_short_rows_share_forwards():
    batches = Batches(examples([[Segment.FINAL] * n for n in (6, 5, 4, 3, 2)]), Recipe(micro_batch_tokens=10))
    assert batches.divided([0, 1, 2, 3, 4]) == [[0, 2], [1, 3, 4]]


def test_supervised_tokens_are_those_with_a_weight():
    row = [Segment.FINAL, Segment.REASON, Segment.CONTEXT, Segment.ACTION]
    [example] = examples([row])
    tokens = Batches([example], Recipe(weights=SegmentWeights(reason=0))).supervised([0], "cpu")
    assert tokens.positions_N.tolist() == [2] and tokens.targets.ids_NK.tolist() == [[example.input_ids[3]]]
    assert tokens.segments_N.tolist() == [Segment.ACTION] and tokens.shares_N.tolist() == [1.0]


def test_model_that_lets_packed_sequences_see_each_other_is_told(model, caplog):
    assert keeps_apart(model) and not caplog.text
    torch.manual_seed(0)
    bert = BertGenerationDecoder(BertGenerationConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, is_decoder=True,
                                                      num_attention_heads=2, vocab_size=VOCABULARY, initializer_range=0.5,
                                                      max_position_embeddings=32)).eval()
    assert not keeps_apart(bert)
    assert "BertGenerationDecoder lets packed sequences see each other" in caplog.text
