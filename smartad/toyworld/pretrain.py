"""``python -m smartad.toyworld.pretrain`` rebuilds the base student: a tokenizer and a model of under 1 MB.

A fixed number of steps on one thread from a fixed seed, so the same machine gives the same weights; another CPU rounds
differently and gives a student that is as good but not the same.
"""

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from smartad.models import TOY_FOLDER
from smartad.toyworld.pretext import document
from smartad.types import Message

STEPS = 4600
ROWS, LENGTH = 4, 512
"""Rows per step, tokens per row."""
VOCABULARY = 704
PEAK = 3e-3
"""Learning rate; it warms up over 100 steps and falls over the last 35 %."""
CONTEXT_WEIGHT = 0.1
"""Loss weight of what is not an assistant's: prompts teach the words, assistants the behaviour."""
REPEATS = 0.3
"""Share of rows that are a random sequence again and again, falling to 0 over the first 40 % of the steps.  Copying
comes sooner with them, and they are the only text in which the byte fallback is seen."""
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TEMPLATE = """{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['role'] == 'assistant' %}{% generation %}{{- message['content'] + '<|im_end|>' }}{% endgeneration %}
{%- else %}{{- message['content'] + '<|im_end|>' }}{%- endif %}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


def build_tokenizer(documents: int = 6000) -> PreTrainedTokenizerFast:
    """A byte-level BPE learnt from pretraining text: any text encodes, and decodes to itself.

    Capitalised words never carry their space, so a name has the same tokens wherever it stands; digits go in twos.
    """
    rng = random.Random(5)
    tokenizer = Tokenizer(models.BPE())
    pattern = r"""\p{Lu}\p{Ll}*| ?\p{Ll}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()

    def texts() -> Iterator[str]:
        for _ in range(documents):
            yield "\n".join(f"{m['role']}\n{m['content']}" for m in document(rng))
        for _ in range(400):
            yield "\n".join(f"{i:02}" for i in range(100))

    tokenizer.train_from_iterator(texts(), trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[PAD, START, END], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD,
                                      additional_special_tokens=[START], clean_up_tokenization_spaces=False)
    wrapped.chat_template = TEMPLATE
    return wrapped


def build_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """An untrained Qwen2 of 0.4 M parameters."""
    end = tokenizer.convert_tokens_to_ids(END)
    model = Qwen2ForCausalLM(Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=96, intermediate_size=192, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True, rope_theta=10000.0,
        bos_token_id=None, eos_token_id=end, pad_token_id=tokenizer.pad_token_id))
    model.generation_config.eos_token_id = end
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def weighted(tokenizer: PreTrainedTokenizerFast, messages: list[Message]) -> tuple[list[int], list[float]]:
    """A chat as tokens and their loss weights."""
    ids: list[int] = []
    weights: list[float] = []
    for message in messages:
        parts = ((f"{START}{message['role']}\n", CONTEXT_WEIGHT),
                 (f"{message['content']}{END}", 1.0 if message["role"] == "assistant" else CONTEXT_WEIGHT),
                 ("\n", CONTEXT_WEIGHT))
        for text, weight in parts:
            tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
            ids += tokens
            weights += [weight] * len(tokens)
    return ids, weights


def row(rng: random.Random, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[float]]:
    """Documents one after the other, from a first token as in use, cut at LENGTH."""
    ids: list[int] = []
    weights: list[float] = []
    while len(ids) < LENGTH:
        more_ids, more_weights = weighted(tokenizer, document(rng))
        ids += more_ids
        weights += more_weights
    return ids[:LENGTH], weights[:LENGTH]


def repeats(rng: random.Random, vocabulary: int) -> tuple[list[int], list[float]]:
    """A random sequence again and again; only what can be copied counts."""
    period = rng.choice((8, 16, 32, 64))
    sequence = [rng.randrange(3, vocabulary) for _ in range(period)]
    return (sequence * (LENGTH // period)), [0.0] * (period + 1) + [1.0] * (LENGTH - period - 1)


def train(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int = STEPS) -> float:
    """Train in place and show progress; the final loss, nats per assistant token (running mean)."""
    rng = random.Random(123)
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.98), fused=True)
    started, smoothed = time.monotonic(), 0.0
    for step in range(steps):
        done = step / steps
        for group in optimizer.param_groups:
            group["lr"] = PEAK * min(1, (step + 1) / 100) * min(1, max(0.02, (1 - done) / 0.35))
        drill = [rng.random() < REPEATS * max(0, 1 - done / 0.4) for _ in range(ROWS)]
        rows = [repeats(rng, len(tokenizer)) if d else row(rng, tokenizer) for d in drill]
        ids_B_T = torch.tensor([ids for ids, _ in rows])
        weights_B_T = torch.tensor([weights for _, weights in rows])[:, 1:]
        logits_B_T_V = model(input_ids=ids_B_T).logits[:, :-1]
        nll_B_T = cross_entropy(logits_B_T_V.transpose(1, 2), ids_B_T[:, 1:], reduction="none")
        loss = (nll_B_T * weights_B_T).sum() / weights_B_T.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        written = (weights_B_T == 1) & ~torch.tensor(drill)[:, None]
        if written.any():
            now = nll_B_T[written].mean().item()
            smoothed = now if not smoothed else 0.98 * smoothed + 0.02 * now
        if (step + 1) % 100 == 0:
            tokens = (step + 1) * ROWS * LENGTH
            print(f"step {step + 1}/{steps}  {tokens / 1e6:.1f} M tokens  {smoothed:.3f} nats per assistant token  "
                  f"{time.monotonic() - started:.0f} s  {time.process_time():.0f} CPU s", flush=True)
    return smoothed


def main() -> None:
    """Build the tokenizer, train, write fp16 weights."""
    parser = argparse.ArgumentParser(description="Rebuild the toy world's base student (about 12 CPU minutes).")
    parser.add_argument("--out", type=Path, default=TOY_FOLDER, help="folder to write (default: the package's)")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    print(f"{model.num_parameters():,} parameters, vocabulary {len(tokenizer)}", flush=True)
    train(model, tokenizer)
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
