"""What a training step takes of a device's memory, told before the first one.

Autograd is asked, on short rows, how much it keeps for the backward pass; that grows as a polynomial of a row's length, so
three lengths tell any.  It holds for every architecture, adapter and dtype, with attention that keeps its scores and without.
"""

import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from peft import PeftModel

from smartad.stage import Runtime

LENGTHS = (32, 64, 128)
"""Tokens of the rows that autograd is asked about."""
ADAM = 3
"""Of each trained number: its gradient and AdamW's two moments, all in fp32."""
WHOLE, CHUNK = 4, 2
"""Copies of logits in fp32: all of them (themselves, once more, their softmax, their gradient), or a chunk's."""
BACKWARD = 0.25
"""What a layer's backward pass has at hand besides what was kept for it, as a share of that; measured."""
KEPT_FREE = 0.1
"""Share of the free memory that is not counted on: fragments, and what libraries take."""
CGROUP = {"memory.max": "memory.current", "memory/memory.limit_in_bytes": "memory/memory.usage_in_bytes"}
"""Limit and use of memory, in versions 2 and 1 of Linux's control groups."""


@dataclass(frozen=True)
class Estimate:
    """Bytes on top of the model's weights, at the peak of a step."""

    state: int
    """Gradients and AdamW's moments of the trained weights."""
    head: int
    """Logits and what the loss makes of them."""
    kept: int
    """What autograd keeps of the layers for the backward pass."""
    layer: int
    """The part of it that is one layer's."""
    inputs: int
    """What is kept with gradient checkpointing: each layer's input."""

    def total(self, checkpointing: bool) -> int:
        """With gradient checkpointing or without.  Logits and a layer's backward pass are not there at the same time."""
        at_work = int(BACKWARD * self.layer)
        if checkpointing:
            return self.state + self.inputs + max(self.head, self.layer + at_work)
        return self.state + self.kept + max(self.head, at_work)


def estimate(adapted: PeftModel, rows: int, tokens: int, chunk: int | None = None) -> Estimate:
    """For a forward pass over ``rows`` rows of ``tokens`` tokens each.  ``chunk``: so many logits at once, None for all of
    them.  Runs three short forward passes."""
    model = adapted.get_base_model()
    config = model.config.get_text_config()
    kept = int(_extrapolated([(length, _kept(adapted, rows, length)) for length in LENGTHS], tokens))
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    width = model.get_input_embeddings().weight.element_size()
    logits = rows * tokens * config.vocab_size
    return Estimate(state=ADAM * 4 * trained, kept=kept,
                    head=4 * (WHOLE * logits if chunk is None else CHUNK * min(logits, chunk)),
                    layer=kept // config.num_hidden_layers,
                    inputs=config.num_hidden_layers * rows * tokens * config.hidden_size * width)


def _kept(adapted: PeftModel, rows: int, tokens: int) -> int:
    """Bytes that autograd keeps of the layers for the backward pass, the model's own weights apart."""
    model = adapted.get_base_model()
    known = {p.untyped_storage().data_ptr() for p in (*adapted.parameters(), *adapted.buffers())}
    seen: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids_BT = torch.zeros((rows, tokens), dtype=torch.long, device=model.device)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1:, tokens // 2:] = 0  # rows of other lengths have an attention mask
    training = adapted.training
    adapted.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.base_model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)
    adapted.train(training)
    del hidden
    return sum(seen.values())


def _extrapolated(points: list[tuple[int, int]], x: int) -> float:
    """The parabola through three points, at ``x`` (Lagrange)."""
    total = 0.0
    for i, (at, value) in enumerate(points):
        share = 1.0
        for j, (other, _) in enumerate(points):
            share *= (x - other) / (at - other) if i != j else 1.0
        total += value * share
    return total


def free(device: torch.device, processes: int) -> int:
    """Bytes that one of ``processes`` processes may still take: of its GPU, or its share of this machine's memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    here = [psutil.virtual_memory().available]
    for limit, use in CGROUP.items():
        with suppress(OSError, ValueError):  # "max" is no limit
            here.append(int(Path("/sys/fs/cgroup", limit).read_text()) - int(Path("/sys/fs/cgroup", use).read_text()))
    return min(here) // processes


def settle(adapted: PeftModel, rows: int, tokens: int, chunk: int | None, runtime: Runtime) -> dict[str, float | None]:
    """Turn gradient checkpointing on where ``runtime`` says so, or auto finds that the step would not fit without.

    Metrics: gradient_checkpointing (1 or 0); for auto, estimated_memory_gb (of a step, on top of the weights, as decided)
    and free_memory_gb (before it).
    """
    wanted: dict[str, float | None] = {"estimated_memory_gb": None, "free_memory_gb": None}
    on = runtime.gradient_checkpointing == "on"
    if runtime.gradient_checkpointing == "auto":
        needed, there = estimate(adapted, rows, tokens, chunk), free(adapted.device, runtime.processes)
        on = needed.total(checkpointing=False) > there * (1 - KEPT_FREE)
        wanted = {"estimated_memory_gb": round(needed.total(on) / 1e9, 3), "free_memory_gb": round(there / 1e9, 3)}
    if on:
        model = adapted.get_base_model()
        # Renamed in the middle of transformers 5.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable()
    return {"gradient_checkpointing": float(on), **wanted}


def forget_peak(device: torch.device) -> None:
    """Count the peak from here on.  What cannot be told to forget (other systems than Linux) knows its whole life."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_gb(device: torch.device) -> float:
    """The most that this process has used: tensors on its GPU, or resident memory."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e9, 3)
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1024 / 1e9, 3)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 3)
