"""Each supervised token's loss, without the logits of all tokens at once.

The logits of 2,000 tokens over Qwen2.5's 151,936 words are 1.2 GB in fp32, their gradient is as much again, and three
quarters of the tokens are not trained on.  Here the output head sees the supervised tokens alone, a chunk at a time.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from smartad.engines.loading import Model

log = logging.getLogger(__name__)
LOGITS_AT_ONCE = 2**25
"""128 MiB in fp32: 220 tokens of Qwen2.5's vocabulary.  On a CPU half as many are 4 to 9 % slower, an eighth 1.9 times
(measured, 512 tokens of width 512)."""


@dataclass(frozen=True)
class Targets:
    """What the teacher has at N tokens: probabilities of K words, and of all others together.

    A hard label is K = 1 and probability 1.  Rows with fewer words are filled up with probability 0 of one they have.
    """

    ids_NK: torch.Tensor
    probabilities_NK: torch.Tensor
    rest_N: torch.Tensor | None = None
    """The probability of the other words; None: 0 for every token."""

    @classmethod
    def hard(cls, ids_N: torch.Tensor) -> "Targets":
        """The tokens themselves."""
        return cls(ids_N[:, None], torch.ones(len(ids_N), 1, device=ids_N.device))

    def part(self, rows: slice) -> "Targets":
        """Of some of the tokens."""
        return Targets(self.ids_NK[rows], self.probabilities_NK[rows], None if self.rest_N is None else self.rest_N[rows])


@contextmanager
def losses_for_logits(head: nn.Module, positions_N: torch.Tensor, targets: Targets) -> Iterator[None]:
    """Inside, a model's forward returns as ``logits`` the loss (N,) of each target, KL(teacher || student) in nats.

    ``head``: the model's output embeddings.  ``positions_N``: in the flattened (batch, time), of the tokens that predict
    the targets.  The head computes within the model's forward, so whatever wraps the model (DDP, ZeRO) sees its weights used.
    """
    own = "forward" in vars(head)
    forward = head.forward

    def losses(hidden_BTH: torch.Tensor) -> torch.Tensor:
        return token_losses(head, forward, hidden_BTH.flatten(0, -2)[positions_N], targets)

    head.forward = losses
    try:
        yield
    finally:
        if own:
            head.forward = forward
        else:
            del head.forward


def token_losses(head: nn.Module, forward: Callable[[torch.Tensor], torch.Tensor], hidden_NH: torch.Tensor,
                 targets: Targets) -> torch.Tensor:
    """KL(teacher || student) of each token, (N,) in fp32; with hard labels the cross-entropy.

    A frozen linear head, as LoRA leaves it, gets the gradient of its input in the forward pass.  Any other (trained, adapted,
    quantised) computes each chunk again in the backward pass, where autograd finds the gradients of its weights.
    """
    chunk = max(1, LOGITS_AT_ONCE // _width(head))
    if type(head) is nn.Linear and not any(p.requires_grad for p in head.parameters()):
        return _FrozenHead.apply(hidden_NH, head.weight, head.bias, targets, chunk)

    def losses(part_nH: torch.Tensor, part: Targets) -> torch.Tensor:
        return _LossOfLogits.apply(forward(part_nH).float(), part)

    pieces = [slice(start, start + chunk) for start in range(0, len(hidden_NH), chunk)]
    return torch.cat([checkpoint(losses, hidden_NH[rows], targets.part(rows), use_reentrant=False) for rows in pieces])


def losses_of_logits(logits_BTV: torch.Tensor, positions_N: torch.Tensor, targets: Targets) -> torch.Tensor:
    """As :func:`token_losses`, from logits that are there already."""
    return _LossOfLogits.apply(logits_BTV.flatten(0, -2)[positions_N].float(), targets)


def head_of(model: Model) -> nn.Module | None:
    """The output embeddings of ``model`` if its logits are what they give, else None, saying so.

    Some models scale or squash what the head gives; a loss computed inside the head would not be theirs.
    """
    head = model.get_output_embeddings()
    given: list[torch.Tensor] = []
    hook = head.register_forward_hook(lambda _, __, output: given.append(output.detach().clone()))
    try:
        with torch.no_grad():
            # More than one word: padding's embedding can be zero, and then nothing changes its logits.
            logits = model(input_ids=torch.arange(8, device=model.device)[None], use_cache=False).logits
    finally:
        hook.remove()
    if len(given) == 1 and given[0].shape == logits.shape and torch.equal(given[0].float(), logits.float()):
        return head
    log.warning("%s changes its logits after the output head: the loss is computed from all of them, which takes more memory",
                type(model).__name__)
    return None


def _width(head: nn.Module) -> int:
    """The size of the vocabulary.  ZeRO-3 leaves a weight's shape on the weight as ``ds_shape``."""
    weight: Any = head.weight
    return int(getattr(weight, "ds_shape", weight.shape)[0])


class _FrozenHead(torch.autograd.Function):
    """A token's loss depends on its own hidden state alone, so its gradient is known, but for a factor, when the loss is."""

    @staticmethod
    def forward(ctx: Any, hidden_NH: torch.Tensor, weight_VH: torch.Tensor, bias_V: torch.Tensor | None,
                targets: Targets, chunk: int) -> torch.Tensor:
        losses_N = torch.empty(len(hidden_NH), dtype=torch.float32, device=hidden_NH.device)
        slopes_NH = torch.empty_like(hidden_NH) if ctx.needs_input_grad[0] else None
        # On a CPU, memory that is new for each chunk costs a tenth of the time.
        plain = bias_V is None and hidden_NH.dtype == weight_VH.dtype and not torch.is_autocast_enabled(hidden_NH.device.type)
        room_nV = hidden_NH.new_empty(min(chunk, len(hidden_NH)), len(weight_VH)) if plain else None
        for start in range(0, len(hidden_NH), chunk):
            rows = slice(start, start + chunk)
            part_nH = hidden_NH[rows]
            logits_nV = (nn.functional.linear(part_nH, weight_VH, bias_V) if room_nV is None
                         else torch.mm(part_nH, weight_VH.t(), out=room_nV[:len(part_nH)])).float()
            losses_N[rows], slopes_nV = _losses_and_slopes(logits_nV, targets.part(rows))
            if slopes_NH is not None:
                slopes_NH[rows] = slopes_nV.to(weight_VH.dtype) @ weight_VH
        ctx.slopes_NH = slopes_NH
        return losses_N

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient_N,) = gradients
        return (ctx.slopes_NH * gradient_N[:, None]).to(ctx.slopes_NH.dtype), None, None, None, None


class _LossOfLogits(torch.autograd.Function):
    """Overwrites the logits."""

    @staticmethod
    def forward(ctx: Any, logits_NV: torch.Tensor, targets: Targets) -> torch.Tensor:
        losses_N, ctx.slopes_NV = _losses_and_slopes(logits_NV.detach(), targets)
        return losses_N

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient_N,) = gradients
        return ctx.slopes_NV * gradient_N[:, None], None


def _losses_and_slopes(logits_NV: torch.Tensor, targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:
    """The losses (N,), and their derivatives by the logits (N, V) in the logits' memory.

    With t the teacher's probability of a word, q the student's, and r and u theirs of all words the teacher does not name:
    the loss is sum t log(t / q) + r log(r / u), and its derivative q - t for a word that is named, q - r q / u for another.
    """
    ids_NK, t_NK = targets.ids_NK, targets.probabilities_NK
    peak_N1 = logits_NV.amax(1, keepdim=True)
    named_NK = logits_NV.gather(1, ids_NK) - peak_N1
    mass_NV = logits_NV.sub_(peak_N1).exp_()
    total_N1 = mass_NV.sum(1, keepdim=True)
    losses_N = (torch.xlogy(t_NK, t_NK) - t_NK * (named_NK - total_N1.log())).sum(1)
    if targets.rest_N is None:
        q_NV = mass_NV.div_(total_N1)
    else:
        rest_N1 = targets.rest_N[:, None]
        q_NK = mass_NV.gather(1, ids_NK) / total_N1
        # Not one minus the named: that would be 0 or less in fp32 where the student is sure.
        others_N1 = mass_NV.scatter_(1, ids_NK, 0.0).sum(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        losses_N += (torch.xlogy(rest_N1, rest_N1) - rest_N1 * (others_N1.log() - total_N1.log()))[:, 0]
        q_NV = mass_NV.mul_(1 / total_N1 - rest_N1 / others_N1).scatter_(1, ids_NK, q_NK)
    return losses_N, q_NV.scatter_add_(1, ids_NK, -t_NK)
