"""What the tests of dense retrieval feed on: a tiny random BERT for vectors, and passages of made-up words."""

import string

import numpy as np
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from smartad.models import identify
from smartad.types import Passage

DIMENSIONS = 16


def make_embedder(path):
    """A tiny random BERT that reads single letters, in ``path``: (identity, Runtime.models)."""
    path.mkdir()
    letters = string.ascii_lowercase + string.digits + string.punctuation
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (path / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(path / "vocab.txt"), model_max_length=512)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(words), hidden_size=DIMENSIONS, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=32, max_position_embeddings=320, initializer_range=0.5)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    identity = identify(str(path))
    return identity, {identity: str(path)}


def made_up(count, seed=0, words=12):
    """Passages of random words, each with a title."""
    chance = np.random.default_rng(seed)

    def word():
        return "".join(chance.choice(list(string.ascii_lowercase), chance.integers(2, 8)))
    return [Passage(f"made/{i}", word(), " ".join(word() for _ in range(words))) for i in range(count)]
