"""Models and trajectories of given shapes, filled at random, and the arithmetic that they take."""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from smartad.types import Segment, TrainingExample


def model(vocabulary: int, hidden: int, intermediate: int, layers: int, heads: int, key_heads: int, device: str = "cpu",
          dtype: torch.dtype = torch.float32) -> Any:
    """A Qwen2 with tied embeddings and random weights."""
    torch.manual_seed(0)
    config = Qwen2Config(vocab_size=vocabulary, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
                         num_attention_heads=heads, num_key_value_heads=key_heads, tie_word_embeddings=True,
                         max_position_embeddings=32768)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def trajectories(vocabulary: int, prompt: int, turns: Sequence[int], observations: Sequence[int],
                 samples: int) -> list[TrainingExample]:
    """Samples of one question: ``prompt`` tokens that they share, then turns and observations of so many tokens."""
    draw = random.Random(0)
    shared = [draw.randrange(vocabulary) for _ in range(prompt)]
    examples = []
    for sample in range(samples):
        ids, labels = list(shared), [-1] * prompt
        for turn, length in enumerate(turns):
            labels += [turn] * length + [-1] * (observations[turn] if turn < len(observations) else 0)
        ids += [draw.randrange(vocabulary) for _ in labels[prompt:]]
        segments = tuple(Segment.CONTEXT if label < 0 else Segment.REASON for label in labels)
        examples.append(TrainingExample("random/0", sample, tuple(ids), segments, tuple(labels)))
    return examples


def forward_flop(config: Any, tokens: int, pairs: int, predicted: int) -> float:
    """Floating-point operations of the matrix products of a forward: ``tokens`` through the layers, ``pairs`` of a query and
    a key that it sees, and logits of ``predicted`` positions."""
    size = config.hidden_size // config.num_attention_heads
    layer = config.hidden_size * (2 * config.hidden_size + 2 * config.num_key_value_heads * size + 3 * config.intermediate_size)
    return 2.0 * (config.num_hidden_layers * (tokens * layer + 2 * pairs * config.hidden_size)
                  + predicted * config.hidden_size * config.vocab_size)


def shared_flop(config: Any, examples: Sequence[TrainingExample], prompt: int) -> float:
    """What scoring ``examples`` takes when their prompt is computed once."""
    own = [len(example.input_ids) - prompt for example in examples]
    pairs = triangle(prompt) + sum(triangle(length) + length * prompt for length in own)
    return forward_flop(config, prompt + sum(own), pairs, sum(turn >= 0 for example in examples for turn in example.turns))


def triangle(length: int) -> int:
    """Pairs of a token and one that it sees."""
    return length * (length + 1) // 2


def matmul_peak(device: str, dtype: torch.dtype, sizes: Sequence[tuple[int, int, int]], clock: Callable[[], float]) -> float:
    """FLOP a second of the fastest of some matrix products (rows, inner, columns)."""
    best = 0.0
    for rows, inner, columns in sizes:
        left, right = (torch.randn(shape, device=device, dtype=dtype) for shape in ((rows, inner), (inner, columns)))
        for _ in range(4):
            seconds = timed(lambda left=left, right=right: left @ right, device, clock)
            best = max(best, 2 * rows * inner * columns / seconds)
    return best


def timed(work: Callable[[], Any], device: str = "cpu", clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that ``work`` takes, the device's included."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    began = clock()
    work()
    wait()
    return clock() - began
