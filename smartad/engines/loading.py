"""A student's tokenizer and weights, ready to compute."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import logging

from smartad.dialect import plain
from smartad.models import locate
from smartad.stage import Runtime
from smartad.types import UserError

Tokenizer = Any
"""A transformers fast tokenizer."""
Model = Any
"""A transformers causal language model."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_tokenizer(identity: str, folders: Mapping[str, str]) -> Tokenizer:
    """The tokenizer of model ``identity``.

    Raises UserError when the model cannot be found, or its tokenizer has no character offsets or no chat template.
    """
    path, revision = locate(identity, folders)
    folder = Path(path)
    if folder.is_dir() and not any(found for name in ("tokenizer*", "vocab*", "*.model") for found in folder.glob(name)):
        raise UserError(f"{folder} has no tokenizer: put the tokenizer.json and tokenizer_config.json of {identity} beside its "
                        "weights")
    try:
        tokenizer = _tokenizer_class(path, revision).from_pretrained(path, revision=revision)
    except (OSError, ValueError) as error:
        raise UserError(f"the tokenizer of {identity} cannot be loaded: {_first_line(error)}") from error
    if not tokenizer.is_fast:
        raise UserError(f"{identity} has no fast tokenizer, so there are no character offsets to place segments with; "
                        "convert it with transformers or choose another student")
    if not tokenizer.chat_template:
        raise UserError(f"{identity} has no chat template; choose an instruction-tuned student")
    if unguarded := _unguarded(tokenizer):
        raise UserError(f"the chats of {identity} are built of {unguarded[0]!r}, so an observation that spells it could end its "
                        "message; add its form to CONTROL in smartad/dialect.py, or choose another student")
    return tokenizer


def _unguarded(tokenizer: Tokenizer) -> list[str]:
    """The control tokens that chats are built of and that ``dialect.plain`` does not take out of text."""
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    chat = tokenizer.apply_chat_template(messages, tokenize=False)
    added = tokenizer.added_tokens_decoder
    used = [str(added[token]) for token in tokenizer(chat, add_special_tokens=False)["input_ids"]
            if token in added and added[token].special]
    return [token for token in dict.fromkeys(used) if token in plain(f"a{token}b")]


def _tokenizer_class(path: str, revision: str | None) -> Any:
    """AutoTokenizer goes by the model's type: to a Qwen2 with a vocabulary of its own it gives Qwen2's rules for splitting
    text, whatever its tokenizer.json says, and the model is asked in tokens it has never seen."""
    declared = get_tokenizer_config(path, revision=revision).get("tokenizer_class")
    return PreTrainedTokenizerFast if declared in ("TokenizersBackend", "PreTrainedTokenizerFast") else AutoTokenizer


def load_model(identity: str, runtime: Runtime, dtype: Literal["fp32", "bf16"] = "fp32") -> Model:
    """The weights of model ``identity`` in eval mode, on the device ``runtime`` has.  Gives torch its threads.

    Raises UserError when the model cannot be found or read.
    """
    torch.set_num_threads(runtime.threads)
    # PEFT asks transformers for a name that transformers is about to drop: nothing a user could mend.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    logging.disable_progress_bar()  # progress is the runner's to show
    path, revision = locate(identity, runtime.models)
    try:
        model = AutoModelForCausalLM.from_pretrained(path, revision=revision, dtype=DTYPES[dtype])
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"the model {identity} cannot be loaded: {_first_line(error)}") from error
    return model.to("cuda" if runtime.gpus else "cpu").eval()


def positions(identity: str, folders: Mapping[str, str]) -> int | None:
    """Tokens that model ``identity`` has positions for; None when its config does not say.  Its weights are not loaded.

    Raises UserError when the model cannot be found or its config cannot be read.
    """
    path, revision = locate(identity, folders)
    try:
        config = AutoConfig.from_pretrained(path, revision=revision).get_text_config()
    except (OSError, ValueError) as error:
        raise UserError(f"the model {identity} cannot be loaded: {_first_line(error)}") from error
    return getattr(config, "max_position_embeddings", None)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
