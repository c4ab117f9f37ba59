"""What LoRA training needs to be told.  Free of torch, so that a stage's config can be one."""

from dataclasses import dataclass, field
from typing import Literal

from smartad.types import SegmentWeights, UserError


@dataclass(frozen=True)
class Recipe:
    """LoRA and its optimizer.  Defaults are SmartAD's (Appendix A), or Agent Distillation's where it is silent."""

    weights: SegmentWeights = field(default_factory=SegmentWeights)
    loss: Literal["segment", "sad_sum", "sad_mean", "sad_kl"] = "segment"
    """``segment`` is Eq. 5.  The others are SAD's (Liu et al., arXiv 2505.13820) with ``weights.reason`` and ``weights.action``
    as its lambdas: lambda_reason times the sum over reasoning tokens plus lambda_action times the sum over action and final
    ones, of the cross-entropy (``sad_sum``) or of KL(teacher || student) (``sad_kl``); ``sad_mean`` has means for the sums.
    Then the mean over the trajectories of the batch."""
    loss_reduction: Literal["trajectory", "batch"] = "trajectory"
    """Of Eq. 5.  ``trajectory``: its mean over the global batch; ``batch``: one weighted mean over the batch's tokens."""
    rank: int = 64
    alpha: int = 128
    dropout: float = 0.05
    targets: str = "all-linear"
    """all-linear, or names of linear layers with commas between: ``q_proj,v_proj``."""
    learning_rate: float = 2e-4
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    """transformers' default; the papers name none."""
    warmup: float = 0.0
    """Share of all steps in which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """Of AdamW, whose other settings are PyTorch's."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0 leaves them alone."""
    epochs: int = 2
    batch_size: int = 4
    """Trajectories per optimizer step."""
    micro_batch_size: int = 1
    """Trajectories per forward, padded.  The gradient is the same for any, but for rounding and what dropout draws; these
    make another adapter, so it is a part of its identity like the rest."""
    micro_batch_tokens: int | None = None
    """Instead: tokens per forward.  The trajectories of a step are packed, without padding and unable to see each other, into
    as few forwards as that allows; one that is longer has a forward of its own.  Null: ``micro_batch_size`` holds."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """Of the student's own weights and of what is computed with them; LoRA's weights and the loss are in fp32."""

    def __post_init__(self) -> None:
        for name in ("rank", "alpha", "epochs", "batch_size", "micro_batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("weight_decay", "max_grad_norm"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"train.{name} must be a finite number of at least 0, got {getattr(self, name)}")
        for name in ("dropout", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"train.{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(f"train.learning_rate must be a finite number above 0, got {self.learning_rate}")
        if self.warmup and self.scheduler == "constant":
            raise UserError(f"train.warmup={self.warmup} does nothing with train.scheduler=constant; set "
                            "train.scheduler=constant_with_warmup")
        if self.batch_size % self.micro_batch_size:
            raise UserError(f"train.batch_size={self.batch_size} is not a multiple of "
                            f"train.micro_batch_size={self.micro_batch_size}")
        if self.micro_batch_tokens is not None and (self.micro_batch_tokens < 1 or self.micro_batch_size > 1):
            raise UserError(f"train.micro_batch_tokens={self.micro_batch_tokens} must be at least 1, and goes with "
                            f"train.micro_batch_size=1 (got {self.micro_batch_size}): it says how much a forward takes")
        if self.loss != "segment":
            self._check_sad()

    def accumulation(self, processes: int) -> int:
        """Micro-batches that each of ``processes`` processes adds up for an optimizer step.

        Raises UserError when the batch does not divide: its size is the recipe's, and not a matter of where it runs.
        """
        share = processes * self.micro_batch_size
        if self.batch_size % share:
            raise UserError(f"train.batch_size={self.batch_size} does not divide over processes={processes} x "
                            f"train.micro_batch_size={self.micro_batch_size}; it is one optimizer step wherever it runs, so "
                            "change the profile's processes (or gpus) or train.micro_batch_size")
        return self.batch_size // share

    def _check_sad(self) -> None:
        if self.weights.final != self.weights.action:
            raise UserError(f"train.loss={self.loss} knows no final segment: train.weights.final={self.weights.final} must "
                            f"equal train.weights.action={self.weights.action}; train.weights=uniform has them equal, and "
                            "configs/method/sad.yaml is SAD as declared")
        if self.loss_reduction != "trajectory":
            raise UserError(f"train.loss_reduction={self.loss_reduction} is an option of train.loss=segment; leave it out with "
                            f"train.loss={self.loss}")
