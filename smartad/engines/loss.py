"""The segment-weighted loss (Eq. 5)."""

from collections.abc import Sequence
from typing import Literal

import torch

from smartad.engines.encoding import by_segment
from smartad.types import Segment, SegmentWeights

Reduction = Literal["trajectory", "batch"]
"""``trajectory``: Eq. 5 for each trajectory, then their mean.  ``batch``: one weighted mean over all tokens of the
global batch, so long trajectories count for more."""


def token_weights(segments: Sequence[Segment], weights: SegmentWeights) -> list[float]:
    """w_{s_i}: one weight per token; 0 for the first, which nothing predicts, as for CONTEXT."""
    weight = by_segment(weights)
    return [0.0, *(weight[s] for s in segments[1:])]


def denominator(weights_BT: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    """What the weighted sum over a global batch is divided by; adds up over its micro-batches."""
    return weights_BT.new_tensor(len(weights_BT)) if reduction == "trajectory" else weights_BT.sum()


def segment_loss(logits_BTV: torch.Tensor, ids_BT: torch.Tensor, weights_BT: torch.Tensor, reduction: Reduction,
                 total: torch.Tensor) -> torch.Tensor:
    """A micro-batch's share of the global batch's loss: the shares of all micro-batches add up to it.

    ``total``: the sum of :func:`denominator` over the global batch.  A token without a weight never touches the result,
    not even when its loss is not finite.
    """
    kept_BT = weights_BT[:, 1:] > 0
    nll_BT = torch.zeros_like(weights_BT[:, 1:])
    nll_BT[kept_BT] = torch.nn.functional.cross_entropy(logits_BTV[:, :-1][kept_BT].float(), ids_BT[:, 1:][kept_BT],
                                                        reduction="none")
    sums_B = (nll_BT * weights_BT[:, 1:]).sum(dim=1)
    if reduction == "trajectory":
        sums_B = sums_B / weights_BT[:, 1:].sum(dim=1)
    return sums_B.sum() / total
