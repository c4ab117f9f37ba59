"""One forward for many sequences that begin alike: what they share is computed once.

The keys and values of a beginning are kept; what follows it, of any number of sequences, is packed into one row without
padding.  A token attends to its own sequence and, in a second pass, to the beginning; the two are put together by their
log-sum-exps, so the beginning is never copied for each sequence and no mask is formed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from transformers import AttentionInterface

from smartad.engines.loading import Model

NAME = "smartad_prefix"
LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
"""Rotary embeddings that change with the longest position of the forward."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}
"""How far a logit may be from the plain forward's, relative to the largest: two orders of summation, and no more."""
Kept = dict[int, tuple[torch.Tensor, torch.Tensor]]
"""Layer -> keys and values, each (1, key heads, time, head size)."""


@dataclass(frozen=True)
class Beginning:
    """What is kept of tokens that several sequences begin with."""

    length: int
    layers: Kept


@dataclass(frozen=True)
class _Pack:
    """Where the sequences of a packed row lie, what they follow, and where their keys and values go."""

    spans: Sequence[tuple[int, int]]
    after: Kept
    keep: Kept | None = None


@torch.no_grad()
def begin(model: Model, tokens: Sequence[int], after: Beginning | None = None) -> Beginning:
    """The beginning ``after`` with ``tokens`` behind it.  Raises ValueError for a model that ``obstacle`` speaks against."""
    before, kept = after.layers if after else {}, Kept()
    _forward(model, [tokens], after, kept)
    if len(kept) != model.config.get_text_config().num_hidden_layers:
        raise ValueError(f"it has the keys of {len(kept)} layers")
    layers = {layer: (torch.cat([before[layer][0], key], 2), torch.cat([before[layer][1], value], 2)) if before else (key, value)
              for layer, (key, value) in kept.items()}
    return Beginning((after.length if after else 0) + len(tokens), layers)


@torch.no_grad()
def hidden_states(model: Model, sequences: Sequence[Sequence[int]], after: Beginning | None = None) -> torch.Tensor:
    """The last hidden states of ``sequences``, each of which follows ``after``: (all their tokens, hidden), one behind the
    other."""
    return _forward(model, sequences, after)


def obstacle(model: Model) -> str | None:
    """Why the beginnings of ``model`` cannot be shared; None when they can.

    What depends on the length is read from the config; whatever else a model's attention or head may do is found out by
    comparing logits with its own forward.
    """
    config = model.config.get_text_config()
    kinds = sorted(set(getattr(config, "layer_types", None) or []) - {"full_attention"})
    if kinds:
        return f"it has layers of {', '.join(kinds)}"
    if not getattr(config, "layer_types", None) and getattr(config, "sliding_window", None):
        return f"it attends to the last {config.sliding_window} tokens only"
    if (rope := (getattr(config, "rope_parameters", None) or {}).get("rope_type")) in LENGTH_DEPENDENT_ROPE:
        return f"its rotary embedding is {rope}"
    if model.device.type not in ("cpu", "cuda"):
        return f"it is on {model.device.type}"
    if not isinstance(model.get_output_embeddings(), torch.nn.Linear):
        return "its head is no plain matrix"
    try:
        difference = _difference(model)
    except Exception as error:  # some architecture's forward: anything may be raised
        return f"its forward does not take it ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
    return None if difference <= TOLERANCE[model.dtype] else f"its logits would differ by {difference:.1g} of the largest"


@torch.no_grad()
def _difference(model: Model) -> float:
    """The largest difference between logits with shared beginnings and those of the plain forward, of the largest logit."""
    first, second, tails = [1, 2, 3, 4, 5], [6, 7, 8], [[9, 10, 11], [12, 13, 14, 15]]
    ids = [[token % model.config.get_text_config().vocab_size for token in first + second + tail] for tail in tails]
    shared = begin(model, ids[0][5:8], begin(model, ids[0][:5]))
    packed_NV = model.get_output_embeddings()(hidden_states(model, [row[8:] for row in ids], shared))
    plain_NV = torch.cat([model(torch.tensor([row], device=model.device), use_cache=False).logits[0, 8:] for row in ids])
    difference = (packed_NV.float() - plain_NV.float()).abs().max() / plain_NV.float().abs().max()
    return difference.nan_to_num(torch.inf).item()


def _forward(model: Model, sequences: Sequence[Sequence[int]], after: Beginning | None,
             keep: Kept | None = None) -> torch.Tensor:
    first = after.length if after else 0
    ends = list(accumulate(len(sequence) for sequence in sequences))
    pack = _Pack(list(pairwise([0, *ends])), after.layers if after else {}, keep)
    ids_N = torch.tensor([token for sequence in sequences for token in sequence], device=model.device)
    positions_N = torch.cat([torch.arange(first, first + len(sequence), device=model.device) for sequence in sequences])
    with _attention(model):
        states = model.base_model(input_ids=ids_N[None], position_ids=positions_N[None], use_cache=False, smartad_pack=pack)
    return states.last_hidden_state[0]


@contextmanager
def _attention(model: Model) -> Iterator[None]:
    """Inside, ``model`` attends as this module does."""
    config = model.base_model.config
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def _attend(module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None,
            scaling: float | None = None, smartad_pack: _Pack | None = None, **_: Any) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query (1, heads, N, size), key and value (1, key heads, N, size), to
    (1, N, heads, size)."""
    if smartad_pack is None:
        raise ValueError("the layers are not given what the model is given")
    if smartad_pack.keep is not None:
        smartad_pack.keep[module.layer_idx] = key, value
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    parts = [_softmax(query[:, :, start:end], key[:, :, start:end], value[:, :, start:end], True, scaling)
             for start, end in smartad_pack.spans]
    out, lse = (torch.cat(part, 2) for part in zip(*parts, strict=True))
    if smartad_pack.after:
        key, value = (kept.repeat_interleave(groups, 1) for kept in smartad_pack.after[module.layer_idx])
        further, further_lse = _softmax(query, key, value, False, scaling)
        out = out.lerp(further, torch.sigmoid(further_lse - lse)[..., None].to(out.dtype))
    return out.transpose(1, 2), None


def _softmax(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool,
             scaling: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention (1, heads, N, size) and its log-sum-exps (1, heads, N): the kernels of scaled_dot_product_attention, which
    itself keeps the latter for the backward pass."""
    if query.device.type == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, causal, scale=scaling)
        return out, lse
    out, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, None, True, 0.0, causal,
                                                                          scale=scaling)
    return out, lse[:, :, :query.shape[2]]  # it pads them


AttentionInterface.register(NAME, _attend)
