"""A base model and an adapter made one model, which is then held against them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoConfig

from smartad.dialect import chat
from smartad.engines.encoding import render
from smartad.engines.hf import HfEngine, adapted, load
from smartad.engines.loading import load_model, load_tokenizer
from smartad.models import identify, locate
from smartad.stage import Runtime
from smartad.types import Merged, Question, Request, UserError

QUESTIONS = ("What is 12 plus 30?", "Which city is the capital of France?",
             "A garden is 12 m long and 7 m wide. What is its perimeter in m?")
MAX_TOKENS = 64
"""Of each answer that is compared."""
BOUNDS = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 1.0}
"""Largest difference of a logit that rounding the merged weights to a dtype may make.  Trained toy adapters: 2e-5, 0.007
and 0.06; a merge that goes wrong changes logits by up to 16 (tied embeddings)."""


def merge(base: str, adapter: Path, to: Path, system: str, runtime: Runtime) -> Merged:
    """Write the model ``base`` with ``adapter`` merged into it to the folder ``to``: safetensors in the base's dtype, tokenizer.

    What is in ``to`` afterwards is loaded again and compared with base and adapter on some questions under the prompt
    ``system``.  Raises UserError when they differ by more than rounding, when one of them cannot be loaded, or when the
    base's dtype is none that such a comparison was made for.
    """
    dtype = _dtype(base, runtime)
    tokenizer = load_tokenizer(base, runtime.models)
    requests = [Request(tuple(chat(Question("", text, ()), [], system)), (), MAX_TOKENS, 0.0, 0) for text in QUESTIONS]
    apart = adapted(load_model(base, runtime), adapter)
    answers = _answers(HfEngine(apart, tokenizer), requests)
    logits = _logits(HfEngine(apart, tokenizer), requests, answers)
    whole = apart.merge_and_unload().to(dtype)
    whole.save_pretrained(to)
    tokenizer.save_pretrained(to)
    for path in to.glob("*.safetensors"):  # written for its owner alone
        path.chmod((to / "config.json").stat().st_mode)
    del apart, whole  # a model of the papers' size does not fit three times
    identity = identify(str(to))
    merged = load(identity, dataclasses.replace(runtime, models={identity: str(to)}))
    same = sum(one == other for one, other in zip(answers, _answers(merged, requests), strict=True))
    difference = max(float((one - other).abs().max()) for one, other in
                     zip(logits, _logits(merged, requests, answers), strict=True))
    bound = BOUNDS[dtype]
    if not difference <= bound:
        raise UserError(f"merging {adapter} into {base} makes another model: {same} of {len(requests)} answers are the same, and "
                        f"a logit differs by {difference:.2g}, more than the {bound:g} that rounding to {_name(dtype)} may make; "
                        "use base model and adapter side by side: pull without --merge")
    return Merged(_name(dtype), len(requests), same, difference, bound)


def _dtype(base: str, runtime: Runtime) -> torch.dtype:
    path, revision = locate(base, runtime.models)
    dtype = AutoConfig.from_pretrained(path, revision=revision).dtype or torch.float32
    if dtype not in BOUNDS:
        raise UserError(f"{base} has weights of {_name(dtype)}, to which nothing is merged; there are "
                        f"{', '.join(map(_name, BOUNDS))}. Use base model and adapter side by side: pull without --merge")
    return dtype


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _answers(engine: HfEngine, requests: Sequence[Request]) -> list[str]:
    return [completion.text for (completion,) in engine.answer(requests)]


@torch.inference_mode()
def _logits(engine: HfEngine, requests: Sequence[Request], answers: Sequence[str]) -> list[torch.Tensor]:
    """What the model thinks of every token of ``answers`` and of what would follow: (token, vocabulary) each."""
    found = []
    for request, answer in zip(requests, answers, strict=True):
        prompt, said = (engine.tokenizer(text, add_special_tokens=False)["input_ids"]
                        for text in (render(engine.tokenizer, request.messages, generate=True), answer))
        ids = torch.tensor([prompt + said], device=engine.model.device)
        found.append(engine.model(input_ids=ids, use_cache=False, logits_to_keep=len(said) + 1).logits[0].float().cpu())
    return found
