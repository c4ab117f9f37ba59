"""What a training says of itself while it runs, and when it must not go on."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments

from smartad.engines.checkpoints import newest_checkpoint
from smartad.engines.memory import peak_gb
from smartad.stage import Runtime
from smartad.types import UserError


class Diverged(FloatingPointError, UserError):
    """A loss, a gradient or a weight is not a number."""


def diverged(what: str, step: int, checkpoints: Path) -> Diverged:
    """The error that says so, what is left of the training, and the way out."""
    newest = newest_checkpoint(checkpoints)
    kept = f"{newest}, whose weights are finite, is kept" if newest else "there is no checkpoint yet"
    return Diverged(f"{what} in step {step}; {kept}. Started again as it is, it would end the same way: lower "
                    "train.learning_rate or train.max_grad_norm, which is another fingerprint and begins anew")


class Watch(TrainerCallback):
    """Passes numbers on, and stops at the first gradient that is none."""

    def __init__(self, runtime: Runtime, device: torch.device, tokens: Callable[[], int]) -> None:
        """``tokens``: how many the present step has in all processes, padding apart."""
        self._runtime, self._device, self._tokens = runtime, device, tokens
        self._since = 0.0
        self._all_tokens, self._all_s = 0, 0.0

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **others: Any) -> None:
        self._since = time.perf_counter()

    def on_log(self, args: TrainingArguments, state: Any, control: Any, **others: Any) -> None:
        logs = others["logs"]
        if "loss" not in logs:
            return
        norm = {"grad_norm": logs["grad_norm"]} if "grad_norm" in logs else {}  # which ZeRO-0 keeps to itself
        if norm and not math.isfinite(norm["grad_norm"]):
            raise diverged(f"the gradient's norm is {norm['grad_norm']}", state.global_step, Path(args.output_dir))
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        self._all_tokens, self._all_s = self._all_tokens + self._tokens(), self._all_s + seconds
        losses = {name: value for name, value in logs.items() if name.partition("/")[0] == "loss"}
        self._runtime.report(state.global_step, **losses, learning_rate=logs["learning_rate"],
                             **norm, tokens_per_s=round(self._tokens() / seconds, 1), peak_memory_gb=peak_gb(self._device))
        self._runtime.progress(state.global_step, state.max_steps)

    def totals(self) -> dict[str, float | None]:
        """Metrics of this attempt: tokens_per_s, peak_memory_gb (of this process).  None where no step was left to do."""
        return {"tokens_per_s": round(self._all_tokens / self._all_s, 1) if self._all_s else None,
                "peak_memory_gb": peak_gb(self._device) if self._all_s else None}
