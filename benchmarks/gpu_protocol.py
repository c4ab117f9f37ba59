"""What scoring and a training step take on a GPU: Qwen2.5-1.5B and 3B shapes with random weights, in bf16.

For prompts of P tokens and trajectories of T in all, prompt included: scoring one question of K trajectories whose system
prompt is known, and an optimizer step of LoRA on one trajectory.  Each beside the fastest matrix product of the same run.
A training step counts as two forwards, for the weights' own gradients are not formed; computing activations again is not
counted.  Needs CUDA; --tiny --device cpu shows that the script works, and its figures mean nothing.

  python benchmarks/gpu_protocol.py [--shapes 1.5B 3B] [--prompts 500 1500 2500] [--lengths 2000 10000] [--rounds 3]
"""

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import shapes
from smartad.engines.nll import Scorer
from smartad.engines.recipe import Recipe
from smartad.engines.training import fine_tune
from smartad.stage import Runtime
from smartad.types import TrainingExample

SHAPES = {"1.5B": {"vocabulary": 151936, "hidden": 1536, "intermediate": 8960, "layers": 28, "heads": 12, "key_heads": 2},
          "3B": {"vocabulary": 151936, "hidden": 2048, "intermediate": 11008, "layers": 36, "heads": 16, "key_heads": 2}}
TINY = {"tiny": {"vocabulary": 640, "hidden": 32, "intermediate": 64, "layers": 2, "heads": 4, "key_heads": 2}}
SYSTEM_SHARE = 4
"""A quarter of the prompt is the system's."""
TURNS = 3


def sample(vocabulary: int, prompt: int, length: int, samples: int) -> list[TrainingExample]:
    """Trajectories of ``length`` tokens: what is not prompt is turns, by two thirds, and observations between them."""
    rest = length - prompt
    turn = 2 * rest // 3 // TURNS
    gaps = [(rest - TURNS * turn) // (TURNS - 1)] * (TURNS - 1)
    return shapes.trajectories(vocabulary, prompt, [turn] * TURNS, gaps, samples)


def score_s(model: Any, examples: list[TrainingExample], prompt: int, rounds: int, device: str) -> float:
    """Seconds for one question, the least of some; the first, which may compile and allocate, is not counted."""
    scorer = Scorer(model, examples[0].input_ids[:prompt // SYSTEM_SHARE])
    if scorer.obstacle:
        sys.exit(f"this would not measure what it says: {scorer.obstacle}")
    scorer.turns(examples)
    return min(shapes.timed(lambda: scorer.turns(examples), device) for _ in range(rounds))


def train_step_s(model: Any, example: TrainingExample, rounds: int, device: str) -> float:
    """Seconds from one step's report to the next, the least of some; the first steps are not counted."""
    reported: list[float] = []
    with tempfile.TemporaryDirectory(prefix="smartad-protocol-") as folder:
        recipe = Recipe(batch_size=1, micro_batch_size=1, epochs=1)
        runtime = Runtime(gpus=int(device == "cuda"), checkpoint_every=10**6,
                          report=lambda *_, **__: reported.append(time.perf_counter()))
        fine_tune(model, [example] * (rounds + 2), recipe, 0, Path(folder), runtime)
    return min(after - before for before, after in itertools.pairwise(reported[1:]))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    arguments.add_argument("--prompts", type=int, nargs="+", default=[500, 1500, 2500])
    arguments.add_argument("--lengths", type=int, nargs="+", default=[2000, 10000])
    arguments.add_argument("--samples", type=int, default=10)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments.add_argument("--tiny", action="store_true", help="a model of no size, short prompts, two samples")
    args = arguments.parse_args()
    if args.device == "cpu" and not args.tiny:
        sys.exit("--device cpu is for --tiny: these shapes are measured on a GPU")
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("this measures a GPU, and torch finds no CUDA device here; "
                 "--tiny --device cpu shows on any machine that the script works")
    if args.tiny:
        args.prompts, args.lengths, args.samples = [32, 64], [200], 2
    dtype = torch.bfloat16 if args.device == "cuda" else torch.float32
    products = [(256, 256, 256)] if args.tiny else [(8192, 8192, 8192), (16384, 4096, 8192)]
    fastest = shapes.matmul_peak(args.device, dtype, products, time.perf_counter)
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}; fastest matrix product {fastest / 1e12:.3g} TFLOP/s\n")
    print("| shape | P | T | scoring | of the peak | peak memory | a training step | of the peak | peak memory |")
    print("| --- " * 9 + "|")
    for shape in list(TINY) if args.tiny else args.shapes:
        for length in args.lengths:
            for prompt in [p for p in args.prompts if p < length]:
                row(shape, prompt, length, args, dtype, fastest)


def row(shape: str, prompt: int, length: int, args: argparse.Namespace, dtype: torch.dtype, fastest: float) -> None:
    """One line of the table."""
    sizes = {**SHAPES, **TINY}[shape]
    model = shapes.model(**sizes, device=args.device, dtype=dtype)
    examples = sample(sizes["vocabulary"], prompt, length, args.samples)
    system, whole = prompt // SYSTEM_SHARE, len(examples[0].input_ids)
    flop = (shapes.shared_flop(model.config, examples, prompt)
            - shapes.forward_flop(model.config, system, shapes.triangle(system), 0))
    cells = [shape, f"{prompt:,}", f"{length:,}"]
    seconds = score_s(model, examples, prompt, args.rounds, args.device)
    cells += [f"{seconds:.3g} s", f"{flop / seconds / fastest:.0%}", _peak_memory(args.device)]
    supervised = sum(turn >= 0 for turn in examples[0].turns)
    flop = 2 * shapes.forward_flop(model.config, whole, shapes.triangle(whole), supervised)
    seconds = train_step_s(model, examples[0], args.rounds, args.device)
    cells += [f"{seconds:.3g} s", f"{flop / seconds / fastest:.0%}", _peak_memory(args.device)]
    print("| " + " | ".join(cells) + " |", flush=True)


def _peak_memory(device: str) -> str:
    """On the GPU since the last call."""
    if device != "cuda":
        return "–"
    most = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return f"{most / 2**30:.1f} GiB"


if __name__ == "__main__":
    main()
