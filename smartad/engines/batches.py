"""Trajectories as a model takes them: several in a forward, side by side or one after the other."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from smartad.engines.encoding import padded
from smartad.engines.head import Targets
from smartad.engines.loading import Model
from smartad.engines.loss import denominator, token_shares
from smartad.engines.recipe import Recipe
from smartad.engines.teacher import Distribution
from smartad.types import TrainingExample

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Supervised:
    """The N tokens of a forward that are trained on, trajectory by trajectory."""

    positions_N: torch.Tensor
    """In the flattened (batch, time), of the token before."""
    targets: Targets
    shares_N: torch.Tensor
    segments_N: torch.Tensor


class Batches:
    """The rows of a training, by number.

    With ``recipe.micro_batch_tokens`` the trajectories of an optimizer step are packed without padding into as few forwards
    as that many tokens allow, each with positions of its own; ``apart=False``, for models that would mix them up, pads them.
    ``teacher``: of each row, what the teacher would have written by position; a position it lacks has its token as a hard
    label, and None is that for all.
    """

    def __init__(self, examples: Sequence[TrainingExample], recipe: Recipe, apart: bool = True,
                 teacher: Sequence[Mapping[int, Distribution]] | None = None) -> None:
        self._examples, self._recipe, self._teacher = examples, recipe, teacher
        self._packed = recipe.micro_batch_tokens is not None and apart
        self._shares = [token_shares(e.segments, recipe.weights, recipe.loss, recipe.loss_reduction) for e in examples]

    def __len__(self) -> int:
        return len(self._examples)

    def names(self, rows: Sequence[int]) -> str:
        """For messages."""
        return ", ".join(f"{self._examples[row].question_id} sample {self._examples[row].sample}" for row in rows)

    def total(self, rows: Sequence[int]) -> float:
        """What the sum over ``rows`` is divided by; adds up over processes."""
        return sum(denominator(self._shares[row], self._recipe.loss_reduction) for row in rows)

    def divided(self, rows: Sequence[int]) -> list[list[int]]:
        """``rows`` in few forwards within the budget of tokens; a row over it has one of its own, none is ever cut."""
        assert self._recipe.micro_batch_tokens is not None
        forwards: list[list[int]] = []
        for row in sorted(rows, key=lambda row: (-self._length(row), row)):
            fits = (f for f in forwards if self._tokens([*f, row]) <= self._recipe.micro_batch_tokens)
            forward = next(fits, None)
            if forward is None:
                forwards.append([row])
            else:
                forward.append(row)
        return forwards

    def inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        """What the model is given, and ``rows``.  No rows are an empty forward, which is to be skipped.

        Numbers that are not whole stay out of it: DeepSpeed would round them to the model's dtype on their way.
        """
        if self._packed or not rows:
            ids = [token for row in rows for token in self._examples[row].input_ids]
            positions = [position for row in rows for position in range(self._length(row))]
            return {"input_ids": torch.tensor([ids], dtype=torch.long), "rows": list(rows),
                    "position_ids": torch.tensor([positions], dtype=torch.long)}
        ids_BT, mask_BT = padded([self._examples[row].input_ids for row in rows])
        return {"input_ids": ids_BT, "attention_mask": mask_BT, "rows": list(rows)}

    def supervised(self, rows: Sequence[int], device: Any) -> Supervised:
        """The tokens with a share above 0 of the forward of ``rows``: any other never touches the loss, not even when its own
        is not finite."""
        width = max(self._length(row) for row in rows)
        starts = [i * width for i in range(len(rows))]
        if self._packed:
            starts = [0, *accumulate(self._length(row) for row in rows)][:-1]
        tokens = [(start + i - 1, row, i) for start, row in zip(starts, rows, strict=True)
                  for i, share in enumerate(self._shares[row]) if share > 0]
        return Supervised(torch.tensor([position for position, _, _ in tokens], device=device),
                          self._targets([(row, i) for _, row, i in tokens], device),
                          torch.tensor([self._shares[row][i] for _, row, i in tokens], device=device),
                          torch.tensor([self._examples[row].segments[i] for _, row, i in tokens], device=device))

    def _targets(self, tokens: Sequence[tuple[int, int]], device: Any) -> Targets:
        """``tokens``: (row, position in it)."""
        labels = [self._examples[row].input_ids[i] for row, i in tokens]
        if self._teacher is None:
            return Targets.hard(torch.tensor(labels, device=device))
        found = [self._teacher[row].get(i, Distribution((label,), (1.0,), 0.0))
                 for (row, i), label in zip(tokens, labels, strict=True)]
        most = max(len(d.ids) for d in found)
        ids = [[*d.ids, *[d.ids[0]] * (most - len(d.ids))] for d in found]
        probabilities = [[*d.probabilities, *[0.0] * (most - len(d.ids))] for d in found]
        return Targets(torch.tensor(ids, device=device), torch.tensor(probabilities, device=device),
                       torch.tensor([d.rest for d in found], device=device))

    def _length(self, row: int) -> int:
        return len(self._examples[row].input_ids)

    def _tokens(self, rows: Sequence[int]) -> int:
        lengths = [self._length(row) for row in rows]
        return sum(lengths) if self._packed else max(lengths) * len(lengths)


@torch.no_grad()
def keeps_apart(model: Model) -> bool:
    """Whether packed sequences do not see each other; tried out on ``model``.

    A sequence behind another must come nearer to what it is alone than a tenth of what seeing the other would change.
    """
    generator = torch.Generator().manual_seed(0)
    ids_1T = torch.randint(model.config.vocab_size, (1, 24), generator=generator).to(model.device)
    positions_1T = torch.tensor([[*range(12), *range(12)]], device=model.device)

    def second_half(ids: torch.Tensor, **positions: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids, use_cache=False, **positions).logits[0, -12:].float()

    alone, seeing = second_half(ids_1T[:, 12:]), second_half(ids_1T)
    packed = second_half(ids_1T, position_ids=positions_1T)
    if bool((packed - alone).abs().max() * 10 < (seeing - alone).abs().max()):
        return True
    log.warning("%s lets packed sequences see each other: they are padded instead", type(model).__name__)
    return False
