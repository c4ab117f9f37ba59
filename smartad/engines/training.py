"""Fine-tuning with the segment-weighted loss, under transformers' Trainer."""

import math
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.utils.data import Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from smartad.engines.batches import Batches, keeps_apart
from smartad.engines.head import head_of, losses_for_logits, losses_of_logits
from smartad.engines.loading import Model
from smartad.engines.lora import attach
from smartad.engines.recipe import Recipe
from smartad.engines.teacher import Distribution
from smartad.stage import Runtime
from smartad.types import Segment, TrainingExample, UserError

WHOLE = "whole"
"""Written into a checkpoint's folder last; a folder without it is what a kill left behind."""


def fine_tune(model: Model, examples: Sequence[TrainingExample], recipe: Recipe, seed: int, checkpoints: Path,
              runtime: Runtime,
              teacher: Sequence[Mapping[int, Distribution]] | None = None) -> tuple[PeftModel, list[dict[str, float]]]:
    """``model`` with a trained LoRA adapter, and what was logged of each step: loss, loss/<segment>, ...

    Called again after a kill, it goes on from the newest whole checkpoint in ``checkpoints`` and ends with the same
    weights.  ``teacher``: see ``Batches``.  Reports loss, loss/<segment>, learning_rate and grad_norm each step.
    Raises UserError for targets the model has not or must not adapt, and when loss or gradient are not finite.
    """
    set_seed(seed)
    adapted = attach(model, recipe)
    accumulation = recipe.batch_size // recipe.micro_batch_size
    arguments = TrainingArguments(
        output_dir=str(checkpoints), seed=seed, num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.micro_batch_size, gradient_accumulation_steps=accumulation,
        learning_rate=recipe.learning_rate, lr_scheduler_type=recipe.scheduler, warmup_steps=recipe.warmup,
        optim="adamw_torch", weight_decay=recipe.weight_decay, max_grad_norm=recipe.max_grad_norm,
        save_strategy="steps", save_steps=runtime.checkpoint_every, logging_steps=1, logging_nan_inf_filter=False,
        use_cpu=model.device.type == "cpu", dataloader_pin_memory=model.device.type != "cpu",
        remove_unused_columns=False, label_names=["weights"], report_to=[], disable_tqdm=True)
    apart = recipe.micro_batch_tokens is None or keeps_apart(model)
    trainer = _SegmentTrainer(adapted, arguments, Batches(examples, recipe, apart, teacher), recipe)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Watch(runtime.report, runtime.progress))
    newest = newest_checkpoint(checkpoints)
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    return adapted, [row for row in trainer.state.log_history if "loss" in row]


def newest_checkpoint(checkpoints: Path) -> Path | None:
    """The newest whole checkpoint; half-written ones are removed."""
    for folder in checkpoints.glob("checkpoint-*"):
        if not (folder / WHOLE).exists():
            shutil.rmtree(folder)
    return max(checkpoints.glob("checkpoint-*"), key=_step, default=None)


class _SegmentTrainer(Trainer):
    """transformers' Trainer with Eq. 5, in the same batches whatever the micro-batch."""

    # The loss is divided by what the global batch adds up to; Trainer would divide by the accumulation steps again.
    loss_is_scaled_for_ga = True

    def __init__(self, model: PeftModel, arguments: TrainingArguments, batches: Batches, recipe: Recipe) -> None:
        super().__init__(model, arguments, train_dataset=list(range(len(batches))), data_collator=batches.inputs)
        self._batches, self._recipe = batches, recipe
        self._head = head_of(model.get_base_model())
        self._heard = self._no_losses()

    def _get_train_sampler(self, train_dataset: Sized | None = None) -> Sampler:
        return _Order(len(self._batches), self.args.seed)

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int,
                          device: torch.device) -> tuple[list, torch.Tensor]:
        """The global batch, and what its loss is divided by.

        Packing makes fewer forwards of it than Trainer counts: the others come first and are empty, so that data-parallel
        processes synchronise their gradients in a real one.
        """
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        rows = [row for batch in batches for row in batch["rows"]]
        if self._recipe.micro_batch_tokens is not None:
            forwards = self._batches.divided(rows)
            empty: list[list[int]] = [[]] * (len(batches) - len(forwards))
            batches = [self._batches.inputs(forward) for forward in [*empty, *forwards]]
        total = torch.tensor(self._batches.total(rows), device=device)
        return batches, self.accelerator.gather(total).sum()

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Trainer's, but for an empty forward, which adds nothing."""
        if not inputs["rows"]:
            return torch.zeros((), device=self.args.device)
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False,
                     num_items_in_batch: Any = None) -> torch.Tensor:
        """This forward's share of the global batch's loss.  Raises UserError when it is not finite."""
        rows = inputs.pop("rows")
        tokens = self._batches.supervised(rows, inputs["input_ids"].device)
        if self._head is None:
            logits_BTV = model(**inputs, use_cache=False).logits
            losses_N = losses_of_logits(logits_BTV, tokens.positions_N, tokens.targets)
        else:
            with losses_for_logits(self._head, tokens.positions_N, tokens.targets):
                losses_N = model(**inputs, use_cache=False).logits
        loss = (losses_N * tokens.shares_N).sum() / num_items_in_batch
        if not torch.isfinite(loss):
            raise UserError(f"the loss is {loss.item()} in step {self.state.global_step + 1}, on {self._batches.names(rows)}; "
                            "lower train.learning_rate or train.max_grad_norm")
        self._heard.index_add_(0, tokens.segments_N, torch.stack([losses_N.detach(), torch.ones_like(losses_N)], 1).double())
        # Data-parallel processes average their gradients, and the total is over all of them.
        return loss * self.accelerator.num_processes

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """With the loss of each segment that was trained on, as ``loss/<segment>``."""
        if "loss" in logs:
            for segment, (total, count) in zip(Segment, self.accelerator.reduce(self._heard, "sum").tolist(), strict=True):
                if count:
                    logs[f"loss/{segment.name.lower()}"] = total / count
            self._heard = self._no_losses()
        super().log(logs, start_time)

    def _no_losses(self) -> torch.Tensor:
        """(segment, 2): the sum of the losses of its tokens since the last log, nats, and their number."""
        return torch.zeros(len(Segment), 2, dtype=torch.float64, device=self.args.device)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        # Trainer's own asks the hub about the base model's vocabulary.
        self.model.save_pretrained(output_dir, state_dict=state_dict, save_embedding_layers=False)


class _Order(Sampler[int]):
    """A permutation for each epoch that depends on the seed alone: not on what dropout drew, not on a kill."""

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed, self._epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[int]:
        order = list(range(self._size))
        random.Random(f"{self._seed}#{self._epoch}").shuffle(order)
        return iter(order)


class _Watch(TrainerCallback):
    """Passes numbers on, stops at the first that is none, and keeps one whole checkpoint."""

    def __init__(self, report: Callable[..., None], progress: Callable[[int, int], None]) -> None:
        self._report, self._progress = report, progress

    def on_log(self, args: TrainingArguments, state: Any, control: Any, **others: Any) -> None:
        logs = others["logs"]
        if "loss" not in logs:
            return
        if not math.isfinite(logs["grad_norm"]):
            raise UserError(f"the gradient's norm is {logs['grad_norm']} in step {state.global_step}; "
                            "lower train.learning_rate")
        losses = {name: value for name, value in logs.items() if name.partition("/")[0] == "loss"}
        self._report(state.global_step, **losses, learning_rate=logs["learning_rate"], grad_norm=logs["grad_norm"])
        self._progress(state.global_step, state.max_steps)

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **others: Any) -> None:
        written = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (written / WHOLE).touch()
        for older in written.parent.glob("checkpoint-*"):
            if _step(older) < state.global_step:
                shutil.rmtree(older)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))
