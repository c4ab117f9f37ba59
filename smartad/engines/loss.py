"""What a token's loss counts for: Eq. 5, and the objectives of SAD (arXiv 2505.13820)."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from smartad.engines.encoding import by_segment
from smartad.types import Segment, SegmentWeights

Reduction = Literal["trajectory", "batch"]
"""``trajectory``: Eq. 5 for each trajectory, then their mean.  ``batch``: one weighted mean over all tokens of the
global batch, so long trajectories count for more."""
Objective = Literal["segment", "sad_sum", "sad_mean", "sad_kl"]


def token_weights(segments: Sequence[Segment], weights: SegmentWeights) -> list[float]:
    """w_{s_i}: one weight per token; 0 for the first, which nothing predicts, as for CONTEXT."""
    weight = by_segment(weights)
    return [0.0, *(weight[s] for s in segments[1:])]


def token_shares(segments: Sequence[Segment], weights: SegmentWeights, objective: Objective,
                 reduction: Reduction) -> list[float]:
    """What each token's loss is multiplied with.

    The sum over the tokens of a global batch, divided by the sum of :func:`denominator` over its trajectories, is the loss:
    so it is the same however the batch is cut into forwards.
    """
    shares = token_weights(segments, weights)
    if objective == "sad_mean":
        spans = [Segment.ACTION if s == Segment.FINAL else s for s in segments[1:]]
        counts = Counter(spans)
        return [0.0, *(share / counts[span] for share, span in zip(shares[1:], spans, strict=True))]
    if objective == "segment" and reduction == "trajectory":
        total = sum(shares)
        return [share / total for share in shares]
    return shares


def denominator(shares: Sequence[float], reduction: Reduction) -> float:
    """A trajectory's part of what the sum over a global batch is divided by."""
    return 1.0 if reduction == "trajectory" else sum(shares)
