"""What the tests of training feed on: a tiny random student, and a selection for it to learn."""

import dataclasses

import torch
from safetensors.torch import load_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from small_pools import folder, question, ragged
from smartad.engines.loading import load_tokenizer
from smartad.models import identify
from smartad.stage import Runtime
from smartad.stages.train import TRAIN, TrainConfig
from smartad.types import Selected

TRAINED = 7
"""Trajectories: not a multiple of the batch, so that the last batch of an epoch is ragged."""


def make_student(path):
    """A tiny random student with the toy tokenizer, in ``path``: (identity, Runtime.models)."""
    tokenizer = load_tokenizer(identify("toy"), {})
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
                                 num_key_value_heads=1, vocab_size=len(tokenizer), tie_word_embeddings=True,
                                 initializer_range=0.3)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    identity = identify(str(path))
    return identity, {identity: str(path)}


def make_inputs(path):
    pool = ragged(TRAINED, 1)
    return {"questions/toy": folder(path / "prepare", {"questions.jsonl": [question(n) for n in range(TRAINED)]}),
            "pool": folder(path / "collect", {"trajectories.jsonl": pool}),
            "selected": folder(path / "select", {
                "selected.jsonl": [Selected(t.question_id, t.sample, 1.0, 1) for t in pool]})}


def config_for(student, **changes):
    return TrainConfig(**{"student": student[0], "dialect": "paper", "prompt": "toy", "seed": 0, "rank": 4, "alpha": 8,
                          "learning_rate": 5e-3, **changes})


def train(student, inputs, out, runtime=None, **changes):
    out.mkdir(parents=True, exist_ok=True)
    runtime = dataclasses.replace(runtime or Runtime(), models=student[1])
    return TRAIN.run(config_for(student, **changes), inputs, out, runtime)


def recorder():
    steps = []
    return steps, Runtime(report=lambda step, **scalars: steps.append((step, scalars)))


def adapter_bytes(out):
    return (out / "adapter" / "adapter_model.safetensors").read_bytes()


def weights(out):
    return load_file(out / "adapter" / "adapter_model.safetensors")


def farthest(a, b):
    """The largest difference of a weight."""
    return max((a[name] - b[name]).abs().max().item() for name in a)
