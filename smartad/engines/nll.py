"""How likely a student finds trajectories, turn by turn (Eq. 3)."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from smartad.engines import memory, prefix
from smartad.engines.loading import Model
from smartad.types import Segment, TrainingExample, UserError

RANK_CLIP = 100
"""Ranks above it count as it: a few unlikely tokens must not outweigh all others."""
MOST_TOKENS = {"cpu": 2048, "cuda": 65536}
"""Of a forward: what more of them no longer speeds up.  On a CPU larger ones are slower, as they leave its caches."""
LEAST_TOKENS = 256
"""Of a forward, however little memory is free."""
LOGITS = {"cpu": 2**21, "cuda": 2**28}
"""So many are formed at once, of all positions of a forward and a part of the vocabulary: 8 MiB stay in a CPU's caches."""
FEWEST_WORDS = 256
"""Of the vocabulary at once, however many the positions."""


class Turn(NamedTuple):
    """A turn's likelihood."""

    nll: float
    """Mean negative log-likelihood of its tokens, nats per token (the inner mean of Eq. 3)."""
    tokens: int
    """That the means are over."""
    rank: float
    """Mean rank of its tokens among the student's predictions, 1 the likeliest, clipped at RANK_CLIP."""


class Scorer:
    """A student that scores questions.  What all of them begin with it computes once."""

    def __init__(self, model: Model, common: Sequence[int] = (), end_of_turn: bool = True,
                 batch_tokens: int | None = None, processes: int = 1) -> None:
        """``common``: tokens that trajectories begin with, the system prompt's; one that does not is scored all the same.
        ``end_of_turn``: count the token that ends a turn.  ``batch_tokens``: of a forward; None is chosen from the memory
        that is free for each of ``processes``, and moves results by no more than rounding.
        """
        self.model, self.end_of_turn = model, end_of_turn
        self.obstacle = prefix.obstacle(model)
        """Why trajectories are scored one by one; None when they share what they begin with."""
        self.batch_tokens = batch_tokens or _batch_tokens(model, processes)
        self.positions: float = getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf
        """Tokens that the student has positions for."""
        self._common = tuple(common)
        self._beginning = prefix.begin(model, self._common) if self._common and not self.obstacle else None

    @torch.no_grad()
    def turns(self, examples: Sequence[TrainingExample]) -> list[dict[int, Turn]]:
        """The turns of each example by their index; ``examples`` are of one question, or begin alike for another reason.

        An invented observation is context, as it is in training.  Raises UserError naming the trajectory for a turn without
        a token.
        """
        positions = [self._positions(example) for example in examples]
        scored = self._one_by_one if self.obstacle else self._together
        return [_per_turn(example, at, nll, rank) for example, at, (nll, rank)
                in zip(examples, positions, scored(examples, positions), strict=True)]

    def _positions(self, example: TrainingExample) -> list[int]:
        """Of the tokens that count."""
        ends = {turn: position for position, turn in enumerate(example.turns)}
        at = [i for i, (segment, turn) in enumerate(zip(example.segments, example.turns, strict=True))
              if turn >= 0 and segment != Segment.CONTEXT and (self.end_of_turn or i != ends[turn])]
        where = f"{example.question_id} sample {example.sample}"
        if set(ends) <= {-1}:
            raise UserError(f"{where} has no assistant turn: it cannot be scored")
        if empty := sorted(set(ends) - {-1} - {example.turns[i] for i in at}):
            raise UserError(f"{where}: turn {empty[0]} has no token to score; set score.end_of_turn=true to count the one "
                            "that ends it")
        return at

    def _together(self, examples: Sequence[TrainingExample],
                  positions: Sequence[Sequence[int]]) -> Iterator[tuple[list[float], list[float]]]:
        """(NLLs, ranks) of the positions of each example."""
        start = common_prefix(examples)
        beginning, begun = None, 0
        if self._beginning and examples[0].input_ids[:len(self._common)] == self._common and len(self._common) <= start:
            beginning, begun = self._beginning, len(self._common)
        if begun < start and len(examples) > 1:
            beginning, begun = prefix.begin(self.model, examples[0].input_ids[begun:start], beginning), start
        # The last token that counts is predicted, and needs no state of its own.
        for pack in _packs([at[-1] - begun for at in positions], self.batch_tokens):
            states_ND = prefix.hidden_states(self.model, [examples[i].input_ids[begun:positions[i][-1]] for i in pack], beginning)
            rows, first = list[int](), 0
            for i in pack:
                rows += [first + at - 1 - begun for at in positions[i]]
                first += positions[i][-1] - begun
            targets_N = torch.tensor([examples[i].input_ids[at] for i in pack for at in positions[i]],
                                     device=self.model.device)
            nll, rank = (iter(values) for values in _surprise(self.model, states_ND[rows], targets_N))
            for i in pack:
                yield [next(nll) for _ in positions[i]], [next(rank) for _ in positions[i]]

    def _one_by_one(self, examples: Sequence[TrainingExample],
                    positions: Sequence[Sequence[int]]) -> Iterator[tuple[list[float], list[float]]]:
        """The same with the model's own forward of whole trajectories."""
        for example, at in zip(examples, positions, strict=True):
            ids_T = torch.tensor(example.input_ids[:at[-1] + 1], device=self.model.device)
            at_N = torch.tensor(at, device=self.model.device)
            logits_NV = self.model(input_ids=ids_T[None], use_cache=False, logits_to_keep=at_N - 1).logits[0]
            nll_N, rank_N = _of_logits(logits_NV.float(), ids_T[at_N])
            yield nll_N.tolist(), rank_N.tolist()


def common_prefix(examples: Sequence[TrainingExample]) -> int:
    """How many tokens all begin with, before the one whose state predicts the first of a turn."""
    longest = min(next(i for i, turn in enumerate(example.turns) if turn >= 0) for example in examples) - 1
    columns = zip(*(example.input_ids[:longest] for example in examples), strict=True)
    return next((i for i, column in enumerate(columns) if len(set(column)) > 1), longest)


def _packs(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Indices in their order, such that a pack has at most ``most`` tokens, or one sequence alone."""
    packs: list[list[int]] = []
    room = 0
    for index, length in enumerate(lengths):
        if not packs or length > room:
            packs.append([])
            room = most
        packs[-1].append(index)
        room -= length
    return packs


def _batch_tokens(model: Model, processes: int) -> int:
    """As many as half of the free memory holds the activations of one layer of, within LEAST_TOKENS and MOST_TOKENS."""
    config = model.config.get_text_config()
    width = 12 * config.hidden_size + 4 * getattr(config, "intermediate_size", 4 * config.hidden_size)
    free = memory.free(model.device, processes)
    most = MOST_TOKENS.get(model.device.type, MOST_TOKENS["cpu"])
    return max(LEAST_TOKENS, min(most, free // 2 // (width * model.dtype.itemsize)))


def _surprise(model: Model, states_ND: torch.Tensor, targets_N: torch.Tensor) -> tuple[list[float], list[float]]:
    """Negative log-likelihood and clipped rank of each target after its state; the logits are never whole."""
    head = model.get_output_embeddings()
    bias_V = head.weight.new_zeros(len(head.weight)) if head.bias is None else head.bias
    target_N = ((states_ND.float() * head.weight[targets_N].float()).sum(1) + bias_V[targets_N]).to(states_ND.dtype).float()
    lse_N, above_N = torch.full_like(target_N, -torch.inf), torch.zeros_like(targets_N)
    words = max(FEWEST_WORDS, LOGITS[model.device.type] // len(targets_N))
    for part, (weight_WD, bias_W) in enumerate(zip(head.weight.split(words), bias_V.split(words), strict=True)):
        logits_NW = torch.nn.functional.linear(states_ND, weight_WD, bias_W).float()
        lse_N = torch.logaddexp(lse_N, logits_NW.logsumexp(1))
        # Summed in another order, a target could come out above itself.
        own_N, row_N = targets_N - part * words, torch.arange(len(targets_N), device=targets_N.device)
        here_N = (own_N >= 0) & (own_N < len(weight_WD))
        logits_NW[row_N[here_N], own_N[here_N]] = -torch.inf
        above_N += (logits_NW > target_N[:, None]).sum(1, dtype=torch.int32)
    return (lse_N - target_N).tolist(), (1.0 + above_N.clamp(max=RANK_CLIP - 1)).tolist()


def _of_logits(logits_NV: torch.Tensor, targets_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    target_N1 = logits_NV.gather(1, targets_N[:, None])
    rank_N = 1 + (logits_NV > target_N1).sum(1).clamp(max=RANK_CLIP - 1)
    return logits_NV.logsumexp(1) - target_N1[:, 0], rank_N.float()


def _per_turn(example: TrainingExample, positions: Sequence[int], nll: Sequence[float],
              rank: Sequence[float]) -> dict[int, Turn]:
    by_turn: dict[int, list[tuple[float, float]]] = {}
    for position, value, r in zip(positions, nll, rank, strict=True):
        by_turn.setdefault(example.turns[position], []).append((value, r))
    return {turn: Turn(math.fsum(value for value, _ in values) / len(values), len(values),
                       math.fsum(r for _, r in values) / len(values)) for turn, values in by_turn.items()}
