"""Scoring beside the papers' loop: for each turn of each trajectory a forward of its history and itself.

CPU, one thread, process time, arms interleaved, the least of some rounds; what they compute is compared first.  All
trajectories have the same lengths, so the loop is timed over --loop of them.  Peak memory is that of a process per arm.

  python benchmarks/scoring.py [--prompts 1500 500] [--vocabularies 14000 152000] [--rounds 3] [--loop 2]
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

import shapes
from smartad.engines.nll import Scorer
from smartad.types import TrainingExample

SAMPLES = 10
TURNS, OBSERVATIONS = (150, 150, 150), (200, 200)
SYSTEM = 387
"""Tokens of the system prompt, computed once per run: not in the time of a question."""
TOLERANCE = 1e-5
"""Nats per token."""
SMALL = {"hidden": 512, "intermediate": 2816, "layers": 8, "heads": 8, "key_heads": 2}
"""In proportions like Qwen2.5's."""
TINY = {"hidden": 32, "intermediate": 64, "layers": 2, "heads": 4, "key_heads": 2}


@torch.no_grad()
def turn_loop(model, examples: list[TrainingExample]) -> list[float]:
    """Each turn's mean NLL as one writes it with transformers: ids, labels, loss."""
    means = []
    for example in examples:
        for turn in range(max(example.turns) + 1):
            end = max(i for i, t in enumerate(example.turns) if t == turn) + 1
            labels = [token if t == turn else -100 for token, t in zip(example.input_ids[:end], example.turns, strict=False)]
            ids_1T, labels_1T = torch.tensor([example.input_ids[:end]]), torch.tensor([labels])
            means.append(model(input_ids=ids_1T, labels=labels_1T, use_cache=False).loss.item())
    return means


def shared(scorer: Scorer, examples: list[TrainingExample]) -> list[float]:
    """The same with ours."""
    return [turn.nll for row in scorer.turns(examples) for turn in row.values()]


def compare(model, examples: list[TrainingExample], rounds: int, loop: int) -> tuple[float, float, float]:
    """Process seconds of the loop and of ours over ``examples``, and the largest difference of a turn."""
    scorer = Scorer(model, examples[0].input_ids[:SYSTEM])
    results: dict[str, list[float]] = {}
    seconds = {"loop": float("inf"), "shared": float("inf")}
    for _ in range(rounds):
        for arm, work in (("loop", lambda: turn_loop(model, examples[:loop])), ("shared", lambda: shared(scorer, examples))):
            began = time.process_time()
            results[arm] = work()
            seconds[arm] = min(seconds[arm], time.process_time() - began)
    difference = max(abs(a - b) for a, b in zip(results["loop"], results["shared"], strict=False))
    assert difference <= TOLERANCE, f"they differ by {difference} nats per token"
    return seconds["loop"] * len(examples) / loop, seconds["shared"], difference


def peak(arm: str, shape: dict[str, int], vocabulary: int, prompt: int) -> tuple[int, int]:
    """Peak memory of one arm in MiB, and what the process had when the model was loaded."""
    words = [sys.executable, __file__, "--arm", arm, "--vocabularies", str(vocabulary), "--prompts", str(prompt)]
    said = subprocess.run([*words, *(["--tiny"] if shape is TINY else [])], capture_output=True, text=True, check=True).stdout
    most, loaded = (int(word) for word in said.split())
    return most, loaded


def memory(arm: str, shape: dict[str, int], vocabulary: int, prompt: int) -> None:
    """What :func:`peak` reads."""
    model = shapes.model(vocabulary, **shape)
    examples = shapes.trajectories(vocabulary, prompt, TURNS, OBSERVATIONS, SAMPLES)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew: building the model has one of its own
    loaded = _most_mib()
    if arm == "loop":
        turn_loop(model, examples[:1])
    else:
        shared(Scorer(model, examples[0].input_ids[:SYSTEM]), examples)
    print(_most_mib(), loaded)


def _most_mib() -> int:
    """The most that this process has had (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--prompts", type=int, nargs="+", default=[1500, 500])
    arguments.add_argument("--vocabularies", type=int, nargs="+", default=[14000, 152000])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--loop", type=int, default=2, help=f"trajectories of {SAMPLES} that the loop is timed over")
    arguments.add_argument("--arm", choices=("loop", "shared"), help="only say the peak memory of this one")
    arguments.add_argument("--tiny", action="store_true", help="a model that shows that the script works")
    args = arguments.parse_args()
    shape = TINY if args.tiny else SMALL
    torch.set_num_threads(1)
    if args.arm:
        memory(args.arm, shape, args.vocabularies[0], args.prompts[0])
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}\n")
    print("| vocabulary | prompt | loop | shared | faster | of the matmul peak | difference "
          "| loop's memory | shared's memory | ratio |")
    print("| --- " * 10 + "|")
    for vocabulary in args.vocabularies:
        model = shapes.model(vocabulary, **shape)
        for prompt in args.prompts:
            examples = shapes.trajectories(vocabulary, prompt, TURNS, OBSERVATIONS, SAMPLES)
            products = [(256, 256, 256)] if args.tiny else [(2048, 512, 2816), (4096, 4096, 4096)]
            fastest = shapes.matmul_peak("cpu", torch.float32, products, time.process_time)
            loop_s, shared_s, difference = compare(model, examples, args.rounds, args.loop)
            flop = shapes.shared_flop(model.config, examples, prompt) - shapes.forward_flop(
                model.config, SYSTEM, shapes.triangle(SYSTEM), 0)
            (loop_mib, _), (shared_mib, loaded) = (peak(arm, shape, vocabulary, prompt) for arm in ("loop", "shared"))
            print(f"| {vocabulary:,} | {prompt:,} | {loop_s:.1f} s | {shared_s:.1f} s | {loop_s / shared_s:.1f}x "
                  f"| {flop / shared_s / fastest:.0%} of {fastest / 1e9:.0f} GFLOP/s | {difference:.0e} | {loop_mib:,} MiB "
                  f"| {shared_mib:,} MiB ({loaded:,} with the model) | {shared_mib / loop_mib:.2f}x |", flush=True)


if __name__ == "__main__":
    main()
