"""How likely a student finds a trajectory, turn by turn (Eq. 3)."""

import math
from collections.abc import Sequence

import torch

from smartad.engines.encoding import padded
from smartad.engines.loading import Model
from smartad.types import Segment, TrainingExample, UserError

RANK_CLIP = 100
"""Ranks above it count as it: a few unlikely tokens must not outweigh all others."""


def fixed_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices of sequences of like length, longest first, such that a batch padded to its longest has at most
    ``batch_tokens`` tokens.  A longer sequence makes a batch of its own.

    Depends on the lengths alone, so a run that was killed and one that was not compute the same batches.
    """
    batches: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if room < 1:
            batches.append([])
            room = max(1, batch_tokens // lengths[index])
        batches[-1].append(index)
        room -= 1
    return batches


@torch.no_grad()
def turn_nll(model: Model, examples: Sequence[TrainingExample],
             end_of_turn: bool = True) -> list[list[tuple[float, int, float]]]:
    """For each example, for each of its turns: (mean negative log-likelihood in nats per token, number of tokens, mean rank).

    One forward over whole trajectories, padded on the right; with a causal model and a prefix-stable template that is
    the paper's turn-by-turn loop.  An invented observation is context, as it is in training.  ``end_of_turn``: count
    the token that ends a turn.  Raises UserError naming the trajectory for a turn without a token or a value that is
    not finite.
    """
    ids_BT, mask_BT = (t.to(model.device) for t in padded([example.input_ids for example in examples]))
    logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).logits
    results = []
    for row, example in enumerate(examples):
        scored_N, turns_N = _scored_positions(example, end_of_turn)
        predicted_NV = logits_BTV[row, [i - 1 for i in scored_N]].float()
        taken_N = ids_BT[row, scored_N]
        nll_N = torch.nn.functional.cross_entropy(predicted_NV, taken_N, reduction="none").tolist()
        above_N = (predicted_NV > predicted_NV.gather(1, taken_N[:, None])).sum(dim=1)
        rank_N = (above_N + 1).clamp(max=RANK_CLIP).tolist()
        results.append(_per_turn(example, nll_N, rank_N, turns_N))
    return results


def _scored_positions(example: TrainingExample, end_of_turn: bool) -> tuple[list[int], list[int]]:
    """Positions of the tokens that count, and the turn of each."""
    ends = {turn: position for position, turn in enumerate(example.turns)}.values()
    positions = [i for i, (segment, turn) in enumerate(zip(example.segments, example.turns, strict=True))
                 if turn >= 0 and segment != Segment.CONTEXT and (end_of_turn or i not in ends)]
    return positions, [example.turns[i] for i in positions]


def _per_turn(example: TrainingExample, nll: Sequence[float], rank: Sequence[int],
              turns: Sequence[int]) -> list[tuple[float, int, float]]:
    by_turn: list[list[float]] = [[] for _ in range(max(example.turns) + 1)]
    ranks = [0] * len(by_turn)
    for value, place, turn in zip(nll, rank, turns, strict=True):
        by_turn[turn].append(value)
        ranks[turn] += place
    where = f"{example.question_id} sample {example.sample}"
    if not by_turn:
        raise UserError(f"{where} has no assistant turn: it cannot be scored")
    for turn, values in enumerate(by_turn):
        if not values:
            raise UserError(f"{where}: turn {turn} has no token to score; set score.end_of_turn=true to count the one "
                            "that ends it")
        if not all(map(math.isfinite, values)):
            raise UserError(f"{where}: the negative log-likelihood of turn {turn} is not finite; "
                            "the student's weights are damaged or overflow")
    return [(math.fsum(values) / len(values), len(values), total / len(values))
            for values, total in zip(by_turn, ranks, strict=True)]
