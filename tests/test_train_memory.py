"""The memory model against what a step really takes: every tensor's bytes, counted while they live."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from smartad.engines import memory
from smartad.engines.lora import attach
from smartad.engines.recipe import Recipe
from smartad.stage import Runtime

SHAPE = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300}
STUDENTS = {"qwen2": lambda **c: Qwen2ForCausalLM(Qwen2Config(**SHAPE, **c)),
            "llama": lambda **c: LlamaForCausalLM(LlamaConfig(**SHAPE, **c))}
FACTOR = 1.25
"""How far the peak may be from its estimate, either way."""


class Live(TorchDispatchMode):
    """The most bytes of tensors that were alive at once, of those made inside."""

    def __init__(self, model):
        super().__init__()
        self.now = self.peak = 0
        self._known = weakref.WeakSet(p.untyped_storage() for p in (*model.parameters(), *model.buffers()))

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if torch.is_tensor(tensor):
                self._meet(tensor.untyped_storage())
        return made

    def _meet(self, storage):
        if storage not in self._known:
            self._known.add(storage)
            size = storage.nbytes()
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._part, size)

    def _part(self, size):
        self.now -= size


def adapted(kind, layers=4, dtype=torch.float32, **recipe):
    torch.manual_seed(0)
    model = STUDENTS[kind](num_hidden_layers=layers).to(dtype)
    return attach(model, Recipe(**{"rank": 8, "alpha": 16, **recipe})).train()


def step(model, rows, tokens):
    """Forward, backward and AdamW, twice: the moments are there from the second time on.  The peak in bytes."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], foreach=False)
    ids = torch.randint(300, (rows, tokens))
    mask = torch.ones_like(ids)
    mask[1:, tokens // 2:] = 0
    with Live(model) as live:
        for _ in range(2):
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
            del logits
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return live.peak


@pytest.mark.slow
@pytest.mark.parametrize("kind", STUDENTS)
@pytest.mark.parametrize(("rows", "tokens", "changes"), [
    (1, 700, {}), (3, 300, {}), (1, 900, {"dropout": 0.0}), (1, 400, {"targets": "q_proj,v_proj"}),
    (1, 500, {"dtype": torch.bfloat16})], ids=str)
def test_estimate_is_near_the_peak_of_a_step(kind, rows, tokens, changes):
    for checkpointing in (False, True):
        model = adapted(kind, **changes)
        expected = memory.estimate(model, rows, tokens).total(checkpointing)
        if checkpointing:
            memory.settle(model, rows, tokens, None, Runtime(gradient_checkpointing="on"))
        peak = step(model, rows, tokens)
        print(kind, rows, tokens, changes, checkpointing, expected, peak, expected/peak)
        assert peak / FACTOR < expected < peak * FACTOR, (checkpointing, expected, peak)
