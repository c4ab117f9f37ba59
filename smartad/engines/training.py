"""Fine-tuning with the segment-weighted loss, under transformers' Trainer."""

import math
import random
import shutil
from collections.abc import Callable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.utils.data import Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from smartad.engines.encoding import padded
from smartad.engines.loading import Model
from smartad.engines.lora import attach
from smartad.engines.loss import denominator, segment_loss, token_weights
from smartad.engines.recipe import Recipe
from smartad.stage import Runtime
from smartad.types import TrainingExample, UserError

WHOLE = "whole"
"""Written into a checkpoint's folder last; a folder without it is what a kill left behind."""


def fine_tune(model: Model, examples: Sequence[TrainingExample], recipe: Recipe, seed: int, checkpoints: Path,
              runtime: Runtime) -> tuple[PeftModel, list[float]]:
    """``model`` with a trained LoRA adapter, and the loss of each step.

    Called again after a kill, it goes on from the newest whole checkpoint in ``checkpoints`` and ends with the same
    weights.  Reports loss, learning_rate and grad_norm each step.
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
    trainer = _SegmentTrainer(adapted, arguments, examples, recipe)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Watch(runtime.report, runtime.progress))
    newest = newest_checkpoint(checkpoints)
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    return adapted, [row["loss"] for row in trainer.state.log_history if "loss" in row]


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

    def __init__(self, model: PeftModel, arguments: TrainingArguments, examples: Sequence[TrainingExample],
                 recipe: Recipe) -> None:
        super().__init__(model, arguments, train_dataset=list(range(len(examples))), data_collator=self._collate)
        self._examples, self._recipe = examples, recipe
        self._weights = [token_weights(example.segments, recipe.weights) for example in examples]

    def _collate(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        ids_BT, mask_BT = padded([self._examples[row].input_ids for row in rows])
        weights_BT = torch.zeros(ids_BT.shape)
        for i, row in enumerate(rows):
            weights_BT[i, :len(self._weights[row])] = torch.tensor(self._weights[row])
        return {"input_ids": ids_BT, "attention_mask": mask_BT, "weights": weights_BT, "rows": torch.tensor(rows)}

    def _get_train_sampler(self, train_dataset: Sized | None = None) -> Sampler:
        return _Order(len(self._examples), self.args.seed)

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int,
                          device: torch.device) -> tuple[list, torch.Tensor]:
        """The global batch, and what its loss is divided by."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        totals = torch.stack([denominator(batch["weights"], self._recipe.loss_reduction) for batch in batches])
        return batches, self.accelerator.gather(totals.sum().to(device)).sum()

    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False,
                     num_items_in_batch: Any = None) -> torch.Tensor:
        """This micro-batch's share of the global batch's loss.  Raises UserError when it is not finite."""
        ids_BT, mask_BT, weights_BT = inputs["input_ids"], inputs["attention_mask"], inputs["weights"]
        logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).logits
        loss = segment_loss(logits_BTV, ids_BT, weights_BT, self._recipe.loss_reduction, num_items_in_batch)
        if not torch.isfinite(loss):
            names = [f"{self._examples[row].question_id} sample {self._examples[row].sample}" for row in inputs["rows"]]
            raise UserError(f"the loss is {loss.item()} in step {self.state.global_step + 1}, on {', '.join(names)}; "
                            "lower train.learning_rate or train.max_grad_norm")
        # Data-parallel processes average their gradients, and the total is over all of them.
        return loss * self.accelerator.num_processes

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
        self._report(state.global_step, loss=logs["loss"], learning_rate=logs["learning_rate"],
                     grad_norm=logs["grad_norm"])
        self._progress(state.global_step, state.max_steps)

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **others: Any) -> None:
        written = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (written / WHOLE).touch()
        for older in written.parent.glob("checkpoint-*"):
            if _step(older) < state.global_step:
                shutil.rmtree(older)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))
