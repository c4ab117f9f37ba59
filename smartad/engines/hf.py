"""Generation in this process, with transformers' models: small students on a CPU, and anything that fits a GPU."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from transformers import DynamicCache

from smartad.engines.encoding import render
from smartad.engines.loading import Model, Tokenizer, load_model, load_tokenizer
from smartad.stage import Runtime
from smartad.types import Choices, Completion, Request, UserError

BATCH_TOKENS = {"cpu": 16_384, "cuda": 262_144}
"""Prompt and answer of every row of a batch, padding included.  On a CPU, what the toy student is fastest with
(measured, 4k to 64k); on a GPU, what leaves room beside the KV cache of a 1.5 B student (57 kB a token in fp32, 15 GB)."""
SHRINK = 0.75
"""Rows that ended leave the batch when no more than this share is left."""
STOP_SLACK = 4
"""Tokens looked at for a stop string beyond one per character: the first may be a part of a character."""
WEIGHTS = "adapter_model.safetensors"
BROKEN = "\N{REPLACEMENT CHARACTER}"
"""What a part of a character is decoded to."""


def load(identity: str, runtime: Runtime, adapter: Path | None = None) -> "HfEngine":
    """The engine of model ``identity``, with the LoRA ``adapter`` (a PEFT folder) merged into it if one is given: beside it, it
    would answer the same and take longer (decision 014).

    Raises UserError when the model cannot be loaded, or the adapter is not whole or not one for this model.
    """
    model = load_model(identity, runtime)
    if adapter is not None:
        model = adapted(model, adapter).merge_and_unload().eval()
    return HfEngine(model, load_tokenizer(identity, runtime.models))


def adapted(model: Model, folder: Path) -> PeftModel:
    """``model`` with the adapter in ``folder`` beside its weights.  Raises UserError when it is not whole or does not fit."""
    try:
        with safe_open(folder / WEIGHTS, "pt") as weights:  # reads the header, and that the file is as long as it says
            names = list(weights.keys())
    except FileNotFoundError as error:
        raise UserError(f"{folder} holds no {WEIGHTS}: it is not an adapter") from error
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / WEIGHTS} is damaged, perhaps cut short: {error}; make it again") from error
    if model.config.tie_word_embeddings and any("embed_tokens" in name or "lm_head" in name for name in names):
        raise UserError(f"the adapter {folder} changes the word embeddings, which this model shares between input and "
                        "output: merged, it would be another model")
    try:
        return PeftModel.from_pretrained(model, folder).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"the adapter {folder} does not fit the model: {error}") from error


class HfEngine:
    """Batched generation with a KV cache; greedy at temperature 0, else sampled with random numbers of each row's own."""

    together = True

    def __init__(self, model: Model, tokenizer: Tokenizer, batch_tokens: int | None = None) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.batch_tokens = batch_tokens or BATCH_TOKENS[model.device.type]
        self.positions: int = model.config.max_position_embeddings
        self.ends = _end_tokens(model, tokenizer)

    async def complete(self, requests: Sequence[Request]) -> list[tuple[Completion, ...]]:
        """See ``answer``, which computes meanwhile and lets nobody else."""
        return self.answer(requests)

    def answer(self, requests: Sequence[Request]) -> list[tuple[Completion, ...]]:
        """For each request its ``n`` candidates.  ``tokens`` counts what was generated, with the end of turn or the stop
        string.

        A prompt that leaves no room, or an answer that fills the model's positions before its ``max_tokens``, finishes
        with ``context_overflow``.
        """
        candidates = [self._rows(request) for request in requests]
        rows = [row for rows in candidates for row in rows if row.room > 0]
        for batch in _batches(rows, self.batch_tokens):
            self._generate(batch)
        return [tuple(self._completion(row) for row in rows) for rows in candidates]

    def _rows(self, request: Request) -> list["_Row"]:
        """One for each candidate."""
        prompt = render(self.tokenizer, request.messages, generate=True) + request.prefill
        ids = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        room = min(request.max_tokens, self.positions - len(ids))
        return [_Row(request, candidate, ids, room) for candidate in range(request.n)]

    def _completion(self, row: "_Row") -> Completion:
        text = self._decode(row.written)
        if row.stopped_by:
            text = text[:text.find(row.stopped_by)]
        return Completion(text, row.finish(), len(row.written) + len(row.end), row.stopped_by,
                          choices=tuple(self._choices(row)) if row.likeliest else (),
                          token_ids=tuple(row.written) + row.end, logprobs=tuple(row.logprobs))

    @torch.inference_mode()
    def _generate(self, rows: list["_Row"]) -> None:
        """Write ``rows``' answers.  ids and mask: (row, position), padded on the left."""
        width, longest = max(len(row.prompt) for row in rows), max(row.room for row in rows)
        device = self.model.device
        ids = torch.tensor([[self.ends[0]] * (width - len(row.prompt)) + row.prompt for row in rows], device=device)
        mask = torch.tensor([[0] * (width - len(row.prompt)) + [1] * (len(row.prompt) + longest) for row in rows],
                            device=device)
        positions = (mask[:, :width].cumsum(1) - 1).clamp(min=0)
        chance = _Chance(rows, device)
        cache = DynamicCache(config=self.model.config)
        for step in range(longest):
            logits = self.model(input_ids=ids, attention_mask=mask[:, :width + step], position_ids=positions,
                                past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
            chosen = chance.choose(logits, step)
            _remember(rows, logits, chosen)
            for row, token in zip(rows, chosen.tolist(), strict=True):
                self._write(row, token)
            alive = [i for i, row in enumerate(rows) if row.writing]
            if not alive:
                return
            ids, positions = chosen[:, None], positions[:, -1:] + 1
            if len(alive) <= SHRINK * len(rows):
                kept = torch.tensor(alive, device=device)
                rows, ids, positions, mask = [rows[i] for i in alive], ids[kept], positions[kept], mask[kept]
                chance.keep(kept)
                cache.batch_select_indices(kept)

    def _write(self, row: "_Row", token: int) -> None:
        if not row.writing:
            return
        if token in self.ends:
            row.end = (token,)
            return
        row.written.append(token)
        stops = row.request.stop
        if stops:
            tail = self._decode(row.written[-max(map(len, stops)) - STOP_SLACK:])
            row.stopped_by = next((stop for stop in stops if stop in tail), None)

    def _choices(self, row: "_Row") -> Iterator[Choices]:
        """``row.likeliest`` as text, for tokens that begin and end with a character."""
        whole = self._decode(row.written)
        edges = [*(len(self._decode(row.written[:i])) for i in range(len(row.likeliest))), len(whole)]
        for i, ((start, end), ranked) in enumerate(zip(pairwise(edges), row.likeliest, strict=True)):
            # A token's text can depend on the one before it: some tokenizers write a blank only between words.
            context = row.written[max(0, i - STOP_SLACK):i]
            before = self._decode(context)
            texts = ["" if token in self.ends else self._decode([*context, token]).removeprefix(before) for token, _ in ranked]
            named = [(text, logprob) for (token, logprob), text in zip(ranked, texts, strict=True)
                     if (text or token in self.ends) and BROKEN not in text]
            if BROKEN not in before + whole[start:end] and (start < end or (i == len(row.written) and row.end)):
                yield Choices(start, end, tuple(text for text, _ in named), tuple(round(logprob, 6) for _, logprob in named))

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@dataclass
class _Row:
    """One candidate of a request while it is written."""

    request: Request
    candidate: int
    prompt: list[int]
    room: int
    """Tokens it may write; 0 or less when the prompt already fills the model."""
    written: list[int] = field(default_factory=list)
    end: tuple[int, ...] = ()
    """The token that ended the turn, once it has."""
    stopped_by: str | None = None
    likeliest: list[list[tuple[int, float]]] = field(default_factory=list)
    """(token, log-probability) where each token was written, the end included; empty when nobody asked."""
    logprobs: list[float] = field(default_factory=list)
    """Of each token written, the end included."""

    @property
    def writing(self) -> bool:
        return not self.end and self.stopped_by is None and len(self.written) < self.room

    def finish(self) -> Literal["stop", "length", "context_overflow"]:
        if self.end or self.stopped_by:
            return "stop"
        return "length" if self.room == self.request.max_tokens else "context_overflow"

    def uniform(self) -> torch.Tensor:
        """One number in [0, 1) per token to write; another row of them for each turn of an episode and each candidate."""
        turn = sum(message["role"] == "assistant" for message in self.request.messages)
        which = (self.request.seed, turn, self.candidate) if self.candidate else (self.request.seed, turn)
        # Not torch.Generator: on a CPU it keeps 32 bits of a seed.
        return torch.from_numpy(np.random.default_rng(which).random(self.room))


class _Chance:
    """Chooses each row's next token, by its temperature and its own random numbers."""

    def __init__(self, rows: Sequence[_Row], device: Any) -> None:
        self._temperature = torch.tensor([row.request.temperature for row in rows], dtype=torch.float64, device=device)
        self._top_p = torch.tensor([row.request.top_p for row in rows], dtype=torch.float64, device=device)
        self._sampled = any(row.request.temperature > 0 for row in rows)
        self._cut = any(row.request.top_p < 1 for row in rows)
        longest = max(row.room for row in rows)
        self._uniform = torch.zeros(len(rows), longest if self._sampled else 0, dtype=torch.float64)
        if self._sampled:
            for i, row in enumerate(rows):
                self._uniform[i, :row.room] = row.uniform()
        self._uniform = self._uniform.to(device)

    def choose(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """The next token of each row.  logits: (row, vocabulary)."""
        greedy = logits.argmax(-1)
        if not self._sampled:
            return greedy
        cold = self._temperature == 0
        scaled = logits.double() / torch.where(cold, 1.0, self._temperature)[:, None]
        probabilities = scaled.softmax(-1)
        if self._cut:
            probabilities = probabilities * _nucleus(probabilities, self._top_p)
        cumulative = probabilities.cumsum(-1)
        drawn = torch.searchsorted(cumulative, self._uniform[:, step:step + 1] * cumulative[:, -1:], right=True)
        return torch.where(cold, greedy, drawn[:, 0].clamp(max=logits.shape[-1] - 1))

    def keep(self, rows: torch.Tensor) -> None:
        """Only these rows are still written."""
        self._temperature, self._top_p, self._uniform = self._temperature[rows], self._top_p[rows], self._uniform[rows]


def _nucleus(probabilities: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Which tokens are among the likeliest that reach ``top_p`` together, the one that reaches it included.

    probabilities: (row, vocabulary); top_p: (row,), of which 1 keeps all.
    """
    ranked, order = probabilities.sort(stable=True, dim=-1, descending=True)
    before = ranked.cumsum(-1) - ranked
    kept = (before < top_p[:, None]) | (top_p[:, None] >= 1)
    return torch.zeros_like(kept).scatter(-1, order, kept)


def _remember(rows: Sequence[_Row], logits: torch.Tensor, chosen: torch.Tensor) -> None:
    """The log-probability of what each row has chosen, and the likeliest tokens for rows that asked.

    logits: (row, vocabulary); chosen: (row,).
    """
    logits = logits.float()
    found = logits.gather(-1, chosen[:, None])[:, 0] - logits.logsumexp(-1)
    for row, logprob in zip(rows, found.tolist(), strict=True):
        if row.writing:
            row.logprobs.append(round(logprob, 6))
    asking = [(i, row, k) for i, row in enumerate(rows) if row.writing and (k := row.request.top_logprobs)]
    if not asking:
        return
    top = logits[[i for i, _, _ in asking]].log_softmax(-1).topk(min(logits.shape[-1], max(k for _, _, k in asking)))
    for (_, row, k), logprobs, tokens in zip(asking, top.values.tolist(), top.indices.tolist(), strict=True):
        row.likeliest.append(list(zip(tokens, logprobs, strict=True))[:k])


def _batches(rows: Sequence[_Row], batch_tokens: int) -> Iterator[list[_Row]]:
    """Rows of like length together, each batch within ``batch_tokens`` unless one row alone is over it."""
    batch: list[_Row] = []
    longest = 0
    for row in sorted(rows, key=lambda row: len(row.prompt) + row.room):  # a stable order
        longest = max(longest, len(row.prompt) + row.room)
        if batch and longest * (len(batch) + 1) > batch_tokens:
            yield batch
            batch, longest = [], len(row.prompt) + row.room
        batch.append(row)
    if batch:
        yield batch


def _end_tokens(model: Model, tokenizer: Tokenizer) -> list[int]:
    """The tokens that end a turn: the tokenizer's, and those its model was released with."""
    configured = model.generation_config.eos_token_id
    tokens = configured if isinstance(configured, list) else [configured]
    ends = [token for token in dict.fromkeys([tokenizer.eos_token_id, *tokens]) if token is not None]
    if not ends:
        raise UserError(f"{tokenizer.name_or_path} names no end-of-turn token, so generation would never stop")
    return ends
