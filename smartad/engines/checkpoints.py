"""The points that a killed training goes on from: whole or not there, and never of weights that are no numbers."""

import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from peft import PeftModel

from smartad.types import UserError

WHOLE = "whole"
"""Written into a checkpoint's folder last; a folder without it is what a kill left behind.  It says who can read it."""


def newest_checkpoint(checkpoints: Path) -> Path | None:
    """The newest whole checkpoint."""
    return max((path.parent for path in checkpoints.glob(f"checkpoint-*/{WHOLE}")), key=_step, default=None)


def remove_torn(checkpoints: Path) -> None:
    """Remove what a kill left half-written."""
    for folder in checkpoints.glob("checkpoint-*"):
        if not (folder / WHOLE).exists():
            shutil.rmtree(folder)


def keep(checkpoint: Path, layout: str) -> None:
    """Declare ``checkpoint`` whole, readable as ``layout``, and remove older ones."""
    (checkpoint / WHOLE).write_text(layout)
    for older in checkpoint.parent.glob("checkpoint-*"):
        if _step(older) < _step(checkpoint):
            shutil.rmtree(older)


def refuse_other_layout(checkpoint: Path, layout: str) -> None:
    """Raise UserError when ``checkpoint`` was written by what ``layout`` cannot read: DeepSpeed keeps a part per process."""
    if (written := (checkpoint / WHOLE).read_text()) != layout:
        raise UserError(f"{checkpoint} was written by training as {written}, which training as {layout} cannot read; go on "
                        "with the profile it was begun with, or remove it to begin anew")


def finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether every number is one."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def gathered(adapted: PeftModel) -> AbstractContextManager[None]:
    """Inside, this process has all of the trained weights: under ZeRO-3 each has a part, and all must enter."""
    parts = [p for p in adapted.parameters() if p.requires_grad and hasattr(p, "ds_id")]
    if not parts:
        return nullcontext()
    import deepspeed

    whole: AbstractContextManager[None] = deepspeed.zero.GatheredParameters(parts)
    return whole


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))
