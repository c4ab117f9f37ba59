"""LoRA weights: onto a model, and into a folder."""

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from smartad.engines.loading import Model
from smartad.engines.recipe import Recipe
from smartad.types import UserError


def attach(model: Model, recipe: Recipe) -> PeftModel:
    """``model`` with LoRA weights that do nothing yet.  Raises UserError for targets that are missing or tied."""
    targets = recipe.targets if recipe.targets == "all-linear" else [t.strip() for t in recipe.targets.split(",")]
    if model.config.tie_word_embeddings and (tied := sorted({*_embeddings(model)} & {*targets})):
        raise UserError(f"train.targets names {', '.join(tied)}, and this student ties its input and output "
                        "embeddings: merging the adapter would change both. Leave it out")
    lora = LoraConfig(task_type="CAUSAL_LM", r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=recipe.dropout,
                      target_modules=targets)
    try:
        with warnings.catch_warnings():
            # peft 0.21 uses names that transformers 5.23 warns about.
            warnings.simplefilter("ignore", FutureWarning)
            return get_peft_model(model, lora)
    except ValueError as error:
        linear = sorted({name.rpartition(".")[2] for name, module in model.named_modules()
                         if isinstance(module, torch.nn.Linear)})
        raise UserError(f"train.targets={recipe.targets} does not fit this student: {error}. "
                        f"Its linear layers are {', '.join(linear)}") from error


def save_adapter(adapted: PeftModel, identity: str, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors, both or nothing.

    The config names the student by its identity, never by a path of this machine.
    """
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    adapted.peft_config["default"].base_model_name_or_path = identity
    adapted.save_pretrained(temporary, save_embedding_layers=False)
    (temporary / "README.md").unlink()
    config = json.loads((temporary / "adapter_config.json").read_text())
    # A set of its own order in every process.
    config["target_modules"] = sorted(config["target_modules"])
    (temporary / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def _embeddings(model: Model) -> Iterator[str]:
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    return (name.rpartition(".")[2] for name, module in model.named_modules() if any(module is end for end in ends))
