"""Eq. 5 against plain Python."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2Config, Qwen2ForCausalLM

from smartad.engines.loss import denominator, segment_loss, token_weights
from smartad.types import Segment, SegmentWeights

VOCABULARY = 5
weight = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0])
all_weights = st.tuples(weight, weight, weight).filter(any).map(lambda w: SegmentWeights(*w))
rows = st.lists(st.lists(st.tuples(st.integers(0, VOCABULARY - 1), st.sampled_from(Segment)), min_size=2, max_size=9),
                min_size=1, max_size=5)


def batch_of(tokens, weights):
    """Random logits (seeded), ids and weights, padded; only rows with a weight."""
    tokens = [row for row in tokens if any(token_weights([s for _, s in row], weights))]
    longest = max(map(len, tokens), default=0)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(len(tokens), longest, VOCABULARY, generator=generator) * 3
    ids = torch.tensor([[t for t, _ in row] + [0] * (longest - len(row)) for row in tokens])
    w = torch.tensor([token_weights([s for _, s in row], weights) + [0.0] * (longest - len(row)) for row in tokens])
    return tokens, logits, ids, w


def by_hand(tokens, logits, weights, reduction):
    """Eq. 5 in Python's floats, token by token."""
    of = dict(zip(Segment, (0.0, weights.reason, weights.action, weights.final), strict=True))
    sums, norms = [], []
    for row, scores in zip(tokens, logits.tolist(), strict=True):
        total = norm = 0.0
        for i in range(1, len(row)):
            token, segment = row[i]
            total += of[segment] * (math.log(sum(map(math.exp, scores[i - 1]))) - scores[i - 1][token])
            norm += of[segment]
        sums.append(total)
        norms.append(norm)
    if reduction == "batch":
        return sum(sums) / sum(norms)
    return sum(s / n for s, n in zip(sums, norms, strict=True)) / len(sums)


@pytest.mark.parametrize("reduction", ["trajectory", "batch"])
@settings(deadline=None)
@given(tokens=rows, weights=all_weights, micro=st.integers(1, 5))
def test_segment_loss_shares_of_micro_batches_add_up_to_eq_5(reduction, tokens, weights, micro):
    tokens, logits, ids, w = batch_of(tokens, weights)
    if not tokens:
        return
    pieces = [slice(i, i + micro) for i in range(0, len(tokens), micro)]
    total = sum(denominator(w[piece], reduction) for piece in pieces)
    loss = sum(segment_loss(logits[piece], ids[piece], w[piece], reduction, total) for piece in pieces)
    assert loss.item() == pytest.approx(by_hand(tokens, logits, weights, reduction), rel=1e-5, abs=1e-6)


@settings(deadline=None)
@given(tokens=rows, weights=all_weights, factor=st.sampled_from([0.25, 3.0]))
def test_segment_loss_depends_on_the_ratio_of_weights_alone(tokens, weights, factor):
    scaled = SegmentWeights(weights.reason * factor, weights.action * factor, weights.final * factor)
    tokens, logits, ids, w = batch_of(tokens, weights)
    if not tokens:
        return
    _, _, _, other = batch_of(tokens, scaled)
    n = denominator(w, "trajectory")
    assert segment_loss(logits, ids, w, "trajectory", n).item() == pytest.approx(
        segment_loss(logits, ids, other, "trajectory", n).item(), rel=1e-5)


def test_segment_loss_with_equal_weights_is_transformers_own_for_each_trajectory():
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                         num_attention_heads=2, num_key_value_heads=1, vocab_size=50)).eval()
    segments = [Segment.CONTEXT] * 4 + [Segment.REASON] * 3 + [Segment.CONTEXT] * 2 + [Segment.FINAL] * 4
    ids = torch.randint(50, (3, len(segments)))
    labels = ids.masked_fill(torch.tensor(segments) == Segment.CONTEXT, -100)
    w = torch.tensor([token_weights(segments, SegmentWeights(1, 1, 1))] * 3)
    own = sum(model(ids[i:i + 1], labels=labels[i:i + 1]).loss for i in range(3)) / 3
    ours = segment_loss(model(ids).logits, ids, w, "trajectory", denominator(w, "trajectory"))
    assert ours.item() == pytest.approx(own.item(), rel=1e-6)


def test_segment_loss_is_not_touched_by_a_token_without_weight():
    segments = [Segment.CONTEXT, Segment.CONTEXT, Segment.REASON, Segment.FINAL]
    ids, w = torch.tensor([[1, 2, 3, 4]]), torch.tensor([token_weights(segments, SegmentWeights(reason=0))])
    logits = torch.randn(1, 4, VOCABULARY)
    clean = segment_loss(logits, ids, w, "trajectory", denominator(w, "trajectory"))
    logits[0, 0] = float("inf")
    logits[0, 1] = float("nan")
    assert segment_loss(logits, ids, w, "trajectory", denominator(w, "trajectory")).item() == clean.item()


def test_token_weights_give_nothing_to_the_first_token():
    assert token_weights([Segment.FINAL, Segment.FINAL, Segment.ACTION, Segment.REASON, Segment.CONTEXT],
                         SegmentWeights()) == [0.0, 2.0, 1.5, 1.0, 0.0]
