"""Texts to vectors of length 1, with sentence-transformers."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from smartad import models
from smartad.engines.retrieval.recipe import Embedding
from smartad.types import Passage, UserError

try:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers.utils import logging
except ImportError as absent:
    raise UserError(f"dense retrieval needs sentence-transformers ({absent}): pip install 'smartad[retrieval]'") from absent

BATCH = 64


class Embedder:
    """One model on one device.  Threads must not share it."""

    def __init__(self, recipe: Embedding, folders: Mapping[str, str], gpus: int = 0, threads: int = 1) -> None:
        """``folders``: where local models are, as in Runtime.  Raises UserError when the model is not here."""
        torch.set_num_threads(threads)
        logging.disable_progress_bar()  # progress is the runner's to show
        path, revision = models.locate(recipe.model, folders)
        pinned = {"revision": revision} if revision else {}
        try:
            transformer = Transformer(path, max_seq_length=recipe.max_tokens, model_kwargs={**pinned, "dtype": "float32"},
                                      config_kwargs=pinned, processor_kwargs=pinned)
        except OSError as error:
            raise UserError(f"retrieval.embedding.model={recipe.model} cannot be loaded: {str(error).splitlines()[0]}") from error
        if (positions := getattr(transformer.config, "max_position_embeddings", recipe.max_tokens)) < recipe.max_tokens:
            raise UserError(f"retrieval.embedding.max_tokens={recipe.max_tokens}: {recipe.model} has {positions} positions")
        self.dimensions: int = transformer.get_embedding_dimension()
        # Said here and not read from the model's folder, so that the recipe alone decides.
        modules = [transformer, Pooling(self.dimensions, "mean"), Normalize()]
        self._model = SentenceTransformer(modules=modules, device="cuda" if gpus else "cpu")
        self._recipe = recipe

    def passages(self, passages: Sequence[Passage]) -> np.ndarray:
        """float32 (passages, dimensions)."""
        return self._encode([self._recipe.passage + text_of(p) for p in passages])

    def queries(self, queries: Sequence[str]) -> np.ndarray:
        """float32 (queries, dimensions)."""
        return self._encode([self._recipe.query + query for query in queries])

    def _encode(self, texts: list[str]) -> np.ndarray:
        vectors: np.ndarray = self._model.encode(texts, batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True)
        return np.ascontiguousarray(vectors, dtype=np.float32)


def text_of(passage: Passage) -> str:
    """What of a passage is embedded: as in the corpus that the published index was made of, its title in quotes on a line."""
    return f'"{passage.title}"\n{passage.text}' if passage.title else passage.text
