"""What a token's loss counts for, against Eq. 5 and SAD's objectives in plain Python."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from smartad.engines.loss import denominator, token_shares, token_weights
from smartad.types import Segment, SegmentWeights

weight = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0])
all_weights = st.tuples(weight, weight, weight).filter(any).map(lambda w: SegmentWeights(*w))
tokens = st.lists(st.tuples(st.sampled_from(Segment), st.floats(0, 20)), min_size=2, max_size=9)
"""(segment, loss) of each token of a trajectory."""
batches = st.lists(tokens, min_size=1, max_size=5)


def trainable(batch, weights):
    return [row for row in batch if any(token_weights([s for s, _ in row], weights))]


def ours(batch, weights, objective, reduction="trajectory"):
    """The loss of a global batch, as training adds it up."""
    rows = [token_shares([s for s, _ in row], weights, objective, reduction) for row in batch]
    total = sum(share * loss for shares, row in zip(rows, batch, strict=True)
                for share, (_, loss) in zip(shares, row, strict=True))
    return total / sum(denominator(shares, reduction) for shares in rows)


def eq_5(row, weights):
    """(weighted sum, sum of weights) of one trajectory, segment by segment."""
    losses = {segment: [loss for s, loss in row[1:] if s == segment] for segment in Segment}
    parts = [(weights.reason, losses[Segment.REASON]), (weights.action, losses[Segment.ACTION]),
             (weights.final, losses[Segment.FINAL])]
    return sum(w * sum(part) for w, part in parts), sum(w * len(part) for w, part in parts)


@given(batch=batches, weights=all_weights)
def test_token_shares_make_eq_5_of_each_trajectory_and_then_the_mean(batch, weights):
    assume(batch := trainable(batch, weights))
    expected = sum(total / norm for total, norm in (eq_5(row, weights) for row in batch)) / len(batch)
    assert ours(batch, weights, "segment") == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(batch=batches, weights=all_weights)
def test_token_shares_of_reduction_batch_make_one_mean_over_all_tokens(batch, weights):
    assume(batch := trainable(batch, weights))
    totals, norms = zip(*(eq_5(row, weights) for row in batch), strict=True)
    assert ours(batch, weights, "segment", "batch") == pytest.approx(sum(totals) / sum(norms), rel=1e-9, abs=1e-12)


@given(batch=batches, weights=all_weights, factor=st.sampled_from([0.25, 3.0]))
def test_eq_5_depends_on_the_ratio_of_weights_alone(batch, weights, factor):
    assume(batch := trainable(batch, weights))
    scaled = SegmentWeights(weights.reason * factor, weights.action * factor, weights.final * factor)
    assert ours(batch, scaled, "segment") == pytest.approx(ours(batch, weights, "segment"), rel=1e-9, abs=1e-12)


@given(batch=batches, reason=weight, action=weight)
def test_sad_adds_reasoning_and_acting_with_its_lambdas(batch, reason, action):
    assume(reason or action)
    weights = SegmentWeights(reason, action, action)
    assume(batch := trainable(batch, weights))
    sums, means = 0.0, 0.0
    for row in batch:
        thoughts = [loss for s, loss in row[1:] if s == Segment.REASON]
        acts = [loss for s, loss in row[1:] if s in (Segment.ACTION, Segment.FINAL)]
        sums += reason * sum(thoughts) + action * sum(acts)
        means += sum(w * sum(part) / len(part) for w, part in ((reason, thoughts), (action, acts)) if part)
    assert ours(batch, weights, "sad_sum") == pytest.approx(sums / len(batch), rel=1e-9, abs=1e-12)
    assert ours(batch, weights, "sad_kl") == ours(batch, weights, "sad_sum")
    assert ours(batch, weights, "sad_mean") == pytest.approx(means / len(batch), rel=1e-9, abs=1e-12)


def test_objectives_differ_where_segments_and_trajectories_do():
    """A broken control: none of the comparisons above would notice if they were all the same."""
    batch = [[(Segment.CONTEXT, 0.0), (Segment.REASON, 1.0), (Segment.REASON, 1.0), (Segment.FINAL, 4.0)],
             [(Segment.CONTEXT, 0.0), (Segment.ACTION, 2.0)]]
    weights = SegmentWeights(1, 2, 2)
    values = [ours(batch, weights, "segment"), ours(batch, weights, "segment", "batch"), ours(batch, weights, "sad_sum"),
              ours(batch, weights, "sad_mean")]
    assert values == pytest.approx([(10 / 4 + 2) / 2, (10 + 4) / 6, (10 + 4) / 2, (1 + 8 + 4) / 2])


def test_token_weights_give_nothing_to_the_first_token():
    assert token_weights([Segment.FINAL, Segment.FINAL, Segment.ACTION, Segment.REASON, Segment.CONTEXT],
                         SegmentWeights()) == [0.0, 2.0, 1.5, 1.0, 0.0]
