"""Training beside TRL's SFTTrainer, and the memory that the output head takes.  CPU, one thread, process time.

    python -m venv --system-site-packages beside && beside/bin/pip install "trl>=1.16"
    beside/bin/python benchmarks/training.py

TRL stays out of smartad's dependencies: it brings pandas and pyarrow, and takes numpy from 2.0 on.

All arms train the same LoRA adapter from the same start on the same two rows, a step of both, uniform weights, one mean over
the step's tokens: what TRL computes.  First every arm's losses must be equal, then they are timed in turns; each one's
fastest step counts.  TRL computes its own loss from supervised tokens in chunks since 1.0; ``full logits`` is its trainer with
the loss that transformers computes, as the papers' versions had it, without the further metrics they took from the logits.
"""

import argparse
import dataclasses
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from transformers import PrinterCallback, Qwen2Config, Qwen2ForCausalLM, Trainer, TrainerCallback, set_seed

from smartad.engines.head import Targets, losses_for_logits
from smartad.engines.loading import load_tokenizer
from smartad.engines.lora import attach
from smartad.engines.recipe import Recipe
from smartad.engines.training import fine_tune
from smartad.models import TOY, identify
from smartad.stage import Runtime
from smartad.types import Segment, SegmentWeights, TrainingExample

RECIPE = Recipe(weights=SegmentWeights(1, 1, 1), loss_reduction="batch", rank=16, alpha=32, dropout=0.0, batch_size=2,
                learning_rate=1e-3, scheduler="constant", epochs=2)
LENGTHS = (2048, 1536)
"""Tokens of the two rows; a quarter is supervised: three turns, as of an agent."""
TIMED = 2
"""The step of a run that counts: the first one warms up."""


def rows_of(vocabulary: int, lengths: tuple[int, ...]) -> list[TrainingExample]:
    """Random tokens."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for number, length in enumerate(lengths):
        turn = length // 12
        segments = [Segment.CONTEXT] * (length - 6 * turn)
        for segment in (Segment.REASON, Segment.ACTION, Segment.FINAL):
            segments += [segment] * turn + [Segment.CONTEXT] * turn
        ids = torch.randint(1, vocabulary, (length,), generator=generator).tolist()
        rows.append(TrainingExample(f"bench/{number}", 0, tuple(ids), tuple(segments), (0,) * length))
    return rows


def student(vocabulary: int) -> Any:
    """8 layers of width 512, of random weights."""
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(hidden_size=512, intermediate_size=1408, num_hidden_layers=8, num_attention_heads=8,
                                        num_key_value_heads=2, vocab_size=vocabulary, tie_word_embeddings=True)).eval()


def smartad_steps(model: Any, rows: list[TrainingExample], **changes: Any) -> list[tuple[float, float]]:
    """(loss, CPU seconds) of each step."""
    steps: list[tuple[float, float]] = []
    started = time.process_time()

    def report(step: int, **scalars: float) -> None:
        nonlocal started
        steps.append((scalars["loss"], time.process_time() - started))
        started = time.process_time()

    with tempfile.TemporaryDirectory() as folder:
        fine_tune(model, rows, dataclasses.replace(RECIPE, **changes), 0, Path(folder), Runtime(report=report))
    return steps


class Clock(TrainerCallback):
    """A step is logged when its optimizer is done."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []
        self._started = time.process_time()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
        if "loss" in logs:
            self.steps.append((logs["loss"], time.process_time() - self._started))
            self._started = time.process_time()


def trl_steps(model: Any, rows: list[TrainingExample], full_logits: bool, checkpointing: bool) -> list[tuple[float, float]]:
    """As ``smartad_steps``."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    class FullLogits(SFTTrainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            return Trainer.compute_loss(self, *args, **kwargs)

    set_seed(0)
    adapted = attach(model, dataclasses.replace(RECIPE, gradient_checkpointing=False))
    data = [{"input_ids": list(row.input_ids), "labels": [-100 if segment == Segment.CONTEXT else token for token, segment in
                                                          zip(row.input_ids, row.segments, strict=True)]} for row in rows]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(output_dir=folder, num_train_epochs=RECIPE.epochs, per_device_train_batch_size=1,
                              gradient_accumulation_steps=RECIPE.batch_size, learning_rate=RECIPE.learning_rate,
                              lr_scheduler_type="constant", max_grad_norm=RECIPE.max_grad_norm, weight_decay=0.0,
                              gradient_checkpointing=checkpointing, logging_steps=1, save_strategy="no", report_to=[],
                              use_cpu=True, bf16=False, max_length=None, disable_tqdm=True, seed=0)
        trainer = (FullLogits if full_logits else SFTTrainer)(
            model=adapted, args=arguments, train_dataset=Dataset.from_list(data), callbacks=[clock],
            processing_class=load_tokenizer(identify(TOY), {}))
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.steps


def peak_mb(run: Callable[[], object]) -> float:
    """How far the memory of this process rises while ``run`` runs, MB.  Linux."""
    def status(name: str) -> float:
        return next(int(line.split()[1]) / 1024 for line in Path("/proc/self/status").read_text().splitlines()
                    if line.startswith(f"{name}:"))

    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    run()
    return status("VmHWM") - before


def head_memory(vocabulary: int, row: TrainingExample) -> tuple[float, float]:
    """MB of the output head's forward and backward for one row: of full logits, as transformers computes them; and of ours."""
    model = student(vocabulary).requires_grad_(False)
    hidden = torch.randn(1, len(row.input_ids), 512, requires_grad=True)
    supervised = [i for i, segment in enumerate(row.segments) if i and segment != Segment.CONTEXT]
    positions, targets = torch.tensor(supervised) - 1, Targets.hard(torch.tensor([row.input_ids[i] for i in supervised]))
    labels = torch.tensor([[token if i in set(supervised) else -100 for i, token in enumerate(row.input_ids)]])

    def whole() -> None:
        model.loss_function(logits=model.lm_head(hidden), labels=labels, vocab_size=vocabulary).backward()

    def ours() -> None:
        with losses_for_logits(model.lm_head, positions, targets):
            losses = model.lm_head(hidden)
        losses.mean().backward()

    ours()  # what is allocated once, such as the gradient of the hidden states
    return peak_mb(whole), peak_mb(ours)


def matmul_peak() -> float:
    """GFLOP/s of this thread: 1,024 x 1,024 matrices in fp32, the best of 20."""
    a = torch.randn(1024, 1024)
    times = []
    for _ in range(20):
        started = time.process_time()
        a @ a
        times.append(time.process_time() - started)
    return 2 * 1024**3 / min(times) / 1e9


def main() -> None:
    """Exits with 1 when losses differ."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--vocabularies", type=int, nargs="+", default=[151_936, 14_000])
    options.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="tokens of the rows")
    options.add_argument("--rounds", type=int, default=3)
    arguments = options.parse_args()
    try:
        import trl
    except ImportError as error:
        sys.exit(f"this needs TRL ({error}): python -m venv --system-site-packages beside && beside/bin/pip install 'trl>=1.16'")
    torch.set_num_threads(1)
    arms: dict[str, Callable[[Any, list[TrainingExample]], list[tuple[float, float]]]] = {
        "TRL, full logits, checkpointing": lambda model, rows: trl_steps(model, rows, True, True),
        "TRL, full logits": lambda model, rows: trl_steps(model, rows, True, False),
        "TRL as it is, checkpointing": lambda model, rows: trl_steps(model, rows, False, True),
        "smartad, checkpointing": lambda model, rows: smartad_steps(model, rows, gradient_checkpointing=True),
        "smartad": lambda model, rows: smartad_steps(model, rows, gradient_checkpointing=False),
        "smartad, packed": lambda model, rows: smartad_steps(model, rows, gradient_checkpointing=False,
                                                             micro_batch_tokens=sum(arguments.lengths)),
    }
    print(f"torch {torch.__version__}, trl {trl.__version__}, rows of {arguments.lengths} tokens, best of {arguments.rounds}")
    for vocabulary in arguments.vocabularies:
        rows = rows_of(vocabulary, tuple(arguments.lengths))
        whole, ours = head_memory(vocabulary, rows[0])
        print(f"\nvocabulary {vocabulary}: the head's peak memory {whole:.0f} MB with full logits, {ours:.0f} MB with ours, "
              f"{ours / whole:.3f}x", flush=True)
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        losses: dict[str, list[float]] = {}
        peaks = []
        for _, (name, run) in itertools.product(range(arguments.rounds), arms.items()):
            peaks.append(matmul_peak())
            steps = run(student(vocabulary), rows)
            seconds[name].append(round(steps[TIMED - 1][1], 2))
            losses[name] = [loss for loss, _ in steps]
            first = losses[next(iter(arms))]
            if any(abs(loss - other) > 1e-5 * abs(other) for loss, other in zip(losses[name], first, strict=True)):
                sys.exit(f"{name}: losses {losses[name]} are not {first}")
        print(f"losses of the steps, equal to 1e-5 in all arms: {losses[name]}; matmul peak {max(peaks):.0f} GFLOP/s "
              f"(down to {min(peaks):.0f})")
        slowest = min(seconds[next(iter(arms))])
        for name, times in seconds.items():
            print(f"{name:32} {min(times):7.2f} CPU s a step   {slowest / min(times):5.2f}x   (all: {sorted(times)})")


if __name__ == "__main__":
    main()
