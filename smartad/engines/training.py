"""Fine-tuning with the segment-weighted loss, under transformers' Trainer."""

import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.utils.data import Sampler
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from smartad.engines import memory, ranks
from smartad.engines.batches import Batches, keeps_apart
from smartad.engines.checkpoints import finite, gathered, keep, newest_checkpoint, refuse_other_layout, remove_torn
from smartad.engines.head import LOGITS_AT_ONCE, head_of, losses_for_logits, losses_of_logits
from smartad.engines.loading import Model, load_model
from smartad.engines.lora import attach, save_adapter
from smartad.engines.recipe import Recipe
from smartad.engines.teacher import Distribution
from smartad.engines.watching import Watch, diverged
from smartad.stage import Runtime
from smartad.types import Segment, TrainingExample, UserError

NOBODY = -1
"""In place of a trajectory: a process has nothing to do while the others finish the last batch of an epoch."""

Teacher = Sequence[Mapping[int, Distribution]] | None
"""See ``Batches``."""


@dataclass(frozen=True)
class Trained:
    """What fine-tuning has made."""

    adapted: PeftModel
    steps: list[dict[str, float]]
    """What was logged of each: loss, loss/<segment>, ..."""
    metrics: dict[str, float | None]
    """How it ran: gradient_checkpointing, estimated_memory_gb, free_memory_gb, peak_memory_gb, tokens_per_s, processes."""


def train_adapter(student: str, examples: Sequence[TrainingExample], recipe: Recipe, seed: int, out: Path, runtime: Runtime,
                  teacher: Teacher = None) -> tuple[list[dict[str, float]], dict[str, float | None]]:
    """Fine-tune model ``student``, in as many processes as ``runtime`` says, and write its adapter to ``out``/adapter.

    Checkpoints are in ``out``/checkpoints.  The steps and metrics of :class:`Trained`.
    Raises what :func:`fine_tune` does, UserError for a batch that does not divide, and ProcessDied.
    """
    recipe.accumulation(runtime.processes)
    remove_torn(out / "checkpoints")
    shutil.rmtree(out / "ranks", ignore_errors=True)  # of a kill, and this time there may be one process
    work = partial(_train_adapter, student, examples, recipe, seed, out, teacher)
    return ranks.spread(work, runtime, out / "ranks") if _grouped(runtime) else work(runtime)


def _train_adapter(student: str, examples: Sequence[TrainingExample], recipe: Recipe, seed: int, out: Path, teacher: Teacher,
                   runtime: Runtime) -> tuple[list[dict[str, float]], dict[str, float | None]]:
    model = load_model(student, runtime, recipe.dtype)
    trained = fine_tune(model, examples, recipe, seed, out / "checkpoints", runtime, teacher)
    with gathered(trained.adapted):
        if _first():
            save_adapter(trained.adapted, student, out / "adapter")
    return trained.steps, trained.metrics


def fine_tune(model: Model, examples: Sequence[TrainingExample], recipe: Recipe, seed: int, checkpoints: Path,
              runtime: Runtime, teacher: Teacher = None) -> Trained:
    """``model`` with a trained LoRA adapter, and how that went.

    Called again after a kill, it goes on from the newest whole checkpoint in ``checkpoints`` and ends with the same
    weights.  As one of several processes it trains with them: each optimizer step has the same trajectories however many
    there are, and dropout draws the same for them (but for packed ones: each process packs its own).
    ``teacher``: see ``Batches``.  Reports loss, loss/<segment>, learning_rate, grad_norm, tokens_per_s and
    peak_memory_gb (of this process) each step.
    Raises UserError for targets the model has not or must not adapt, and Diverged when loss or gradient are not finite.
    """
    memory.forget_peak(model.device)
    set_seed(seed)
    adapted = attach(model, recipe)
    head = head_of(adapted.get_base_model())
    longest = max(len(example.input_ids) for example in examples)
    settled = memory.settle(adapted, recipe.micro_batch_size, max(longest, recipe.micro_batch_tokens or 0),
                            LOGITS_AT_ONCE if head else None, runtime)
    on_cpu = model.device.type == "cpu"
    arguments = TrainingArguments(
        output_dir=str(checkpoints), seed=seed, num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.micro_batch_size, gradient_accumulation_steps=recipe.accumulation(runtime.processes),
        learning_rate=recipe.learning_rate, lr_scheduler_type=recipe.scheduler, warmup_steps=recipe.warmup,
        optim="adamw_torch", weight_decay=recipe.weight_decay, max_grad_norm=recipe.max_grad_norm,
        save_strategy="steps", save_steps=runtime.checkpoint_every, logging_steps=1, logging_nan_inf_filter=False,
        use_cpu=on_cpu, dataloader_pin_memory=not on_cpu,
        ddp_backend=("gloo" if on_cpu else "nccl") if _grouped(runtime) else None,
        ddp_find_unused_parameters=False, deepspeed=_deepspeed(runtime, recipe),
        remove_unused_columns=False, label_names=[], report_to=[], disable_tqdm=True)
    layout = f"deepspeed on {runtime.processes} processes" if runtime.deepspeed else "plain"
    apart = recipe.micro_batch_tokens is None or keeps_apart(model)
    trainer = _SegmentTrainer(adapted, arguments, Batches(examples, recipe, apart, teacher), recipe, head, layout)
    trainer.remove_callback(PrinterCallback)
    watch = Watch(runtime, adapted.device, lambda: trainer.tokens)
    trainer.add_callback(watch)
    newest = newest_checkpoint(checkpoints)
    if newest:
        refuse_other_layout(newest, layout)
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    return Trained(adapted, [row for row in trainer.state.log_history if "loss" in row],
                   {**settled, **watch.totals(), "processes": runtime.processes})


class _SegmentTrainer(Trainer):
    """transformers' Trainer with Eq. 5, in the same batches whatever the micro-batch and the processes."""

    # The loss is divided by what the global batch adds up to; Trainer would divide by the accumulation steps again.
    loss_is_scaled_for_ga = True

    def __init__(self, model: PeftModel, arguments: TrainingArguments, batches: Batches, recipe: Recipe,
                 head: torch.nn.Module | None, layout: str) -> None:
        rows = [*range(len(batches)), NOBODY]  # whose index is NOBODY, too
        super().__init__(model, arguments, train_dataset=rows, data_collator=self._collate)
        self._batches, self._recipe, self._head, self._layout = batches, recipe, head, layout
        self.tokens = 0
        """Of the present step in all processes, padding apart."""
        self._heard = self._no_losses()

    def _collate(self, rows: Sequence[int]) -> dict[str, Any]:
        return self._batches.inputs([row for row in rows if row != NOBODY])

    def _get_train_sampler(self, train_dataset: Sized | None = None) -> Sampler:
        at_once = self.args.world_size * self._recipe.micro_batch_size if self.args.world_size > 1 else 1
        # Not by set_epoch, which does not reach it through what Trainer wraps around it to go on within an epoch.
        return _Order(len(self._batches), self.args.seed, at_once, lambda: int(self.state.epoch or 0))

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int,
                          device: torch.device) -> tuple[list, torch.Tensor]:
        """The global batch, and what its loss is divided by.

        There may be fewer forwards in it than Trainer counts, by packing or because the other processes have the rest of an
        epoch: the others come first and are empty, so that processes synchronise their gradients in a real one.  One
        that has nothing to do takes part in that with a gradient of 0.
        """
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        rows = [row for batch in batches for row in batch["rows"]]
        if self._recipe.micro_batch_tokens is not None:
            forwards = self._batches.divided(rows)
            empty: list[list[int]] = [[]] * (len(batches) - len(forwards))
            batches = [self._batches.inputs(forward) for forward in [*empty, *forwards]]
        batches.sort(key=lambda batch: len(batch["rows"]) > 0)
        idle = {**self._batches.inputs([0]), "idle": True}
        if self.is_deepspeed_enabled:  # ZeRO's processes talk in every forward and backward
            batches = [batch if batch["rows"] else idle for batch in batches]
        elif not rows:
            batches[-1] = idle
        share = torch.tensor([[self._batches.total(rows), self._batches.tokens(rows)]], dtype=torch.float32, device=device)
        total, tokens = self.accelerator.gather(share).sum(dim=0)
        self.tokens = int(tokens)
        return batches, total

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Trainer's, but for an empty forward, which adds nothing."""
        if not inputs["rows"]:
            return torch.zeros((), device=self.args.device)
        # What dropout draws belongs to the rows: not to the process they are in, nor to what was drawn before a kill.
        torch.manual_seed(random.Random(f"{self.args.seed}#{self.state.global_step}#{inputs['rows']}").getrandbits(63))
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss_context_manager(self) -> ExitStack:
        stack: ExitStack = super().compute_loss_context_manager()
        if self._recipe.dtype == "bf16":
            stack.enter_context(torch.autocast(self.args.device.type, dtype=torch.bfloat16))
        return stack

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False,
                     num_items_in_batch: Any = None) -> torch.Tensor:
        """This forward's share of the global batch's loss.  Raises Diverged when it is not finite."""
        rows, idle = inputs.pop("rows"), inputs.pop("idle", False)
        tokens = self._batches.supervised(rows, inputs["input_ids"].device)
        if self._head is None:
            logits_BTV = model(**inputs, use_cache=False).logits
            losses_N = losses_of_logits(logits_BTV, tokens.positions_N, tokens.targets)
        else:
            with losses_for_logits(self._head, tokens.positions_N, tokens.targets):
                losses_N = model(**inputs, use_cache=False).logits
        loss = (losses_N * tokens.shares_N).sum() / num_items_in_batch
        if not torch.isfinite(loss):
            raise diverged(f"the loss is {loss.item()} on {self._batches.names(rows)}", self.state.global_step + 1,
                           Path(self.args.output_dir))
        if idle:
            return loss * 0
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

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        # Trainer's own asks the hub about the base model's vocabulary, and gathers all of its weights under ZeRO-3.
        with gathered(self.model):
            if self.args.should_save:
                self.model.save_pretrained(output_dir, save_embedding_layers=False)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        trained = [p for p in self.model.parameters() if p.requires_grad]
        moments = [value for state in self.optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
        checkpoints = Path(self.args.output_dir)
        if not finite([*trained, *moments]):
            raise diverged("a weight or its moment is not finite", self.state.global_step, checkpoints)
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # DeepSpeed's processes write a part each
        if self.args.should_save:
            keep(checkpoints / f"checkpoint-{self.state.global_step}", self._layout)

    def _save_rng_state(self, output_dir: str) -> None:
        """Nothing is drawn that depends on what was drawn before."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        pass


class _Order(Sampler[int]):
    """A permutation for each epoch that depends on the seed alone: not on what dropout drew, not on a kill.

    Filled up with NOBODY to a multiple of ``at_once``, what the processes take together.
    """

    def __init__(self, size: int, seed: int, at_once: int, epoch: Callable[[], int]) -> None:
        self._size, self._seed, self._epoch, self._missing = size, seed, epoch, -size % at_once

    def __len__(self) -> int:
        return self._size + self._missing

    def __iter__(self) -> Iterator[int]:
        order = list(range(self._size))
        random.Random(f"{self._seed}#{self._epoch()}").shuffle(order)
        return iter(order + [NOBODY] * self._missing)


def _grouped(runtime: Runtime) -> bool:
    """Whether it runs in a process group; DeepSpeed wants one, be it of one process."""
    return runtime.processes > 1 or runtime.deepspeed is not None


def _first() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _deepspeed(runtime: Runtime, recipe: Recipe) -> dict[str, Any] | None:
    """The profile's configuration; what the recipe decides is not its to say.  Raises UserError without DeepSpeed."""
    if runtime.deepspeed is None:
        return None
    if not find_spec("deepspeed"):
        raise UserError("the profile says deepspeed, which is not installed here: pip install 'smartad[deepspeed]', or leave "
                        "deepspeed out of the profile")
    auto = dict.fromkeys(("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps",
                          "gradient_clipping"), "auto")
    own = {"torch_autocast": {"enabled": True, "dtype": "bfloat16"}} if recipe.dtype == "bf16" else {}
    return {**runtime.deepspeed, **auto, **own}
