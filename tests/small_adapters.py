"""Finished train stages whose adapters are made up, or real ones of the toy student that nobody trained."""

import json
from pathlib import Path
from typing import Any

from made_up import declare, finish, launch
from smartad.models import identify
from smartad.registry import pulled
from smartad.stage import StageSpec
from smartad.store import Store

TRAIN, OTHER = "train-0123456789ab", "train-ba9876543210"
CONFIG = {"prompt": "toy", "dialect": "paper", "rank": 4, "alpha": 8, "dropout": 0, "targets": "all-linear", "epochs": 2,
          "batch_size": 4, "learning_rate": 0.002, "weights": {"reason": 1, "action": 1.5, "final": 2}, "seed": 0}


def finished(store: Store, fingerprint: str = TRAIN, weights: bytes = b"weights" * 100, base: str | None = None) -> Path:
    """A finished train stage, as plain files: enough for everything but loading it.  Its folder."""
    write_adapter(store.root / fingerprint, base or identify("toy"), weights)
    return seal(store, fingerprint, base)


def write_adapter(folder: Path, base: str, weights: bytes = b"weights" * 100) -> None:
    """Its files, which no library could read."""
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(weights)
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "r": 4}))


def seal(store: Store, fingerprint: str = TRAIN, base: str | None = None) -> Path:
    """Declare the files that are there to be the output of a train stage."""
    with store.claim(fingerprint) as claim:
        assert claim
        identity = {"stage": fingerprint.rpartition("-")[0], "version": 1, "inputs": {},
                    "config": {**CONFIG, "student": base or identify("toy")}}
        store.seal(claim, {"fingerprint": fingerprint, "identity": identity, "metrics": {}, "started": 1.0, "seconds": 2.0,
                           "environment": {"gpus": []}, "trackers": {}})
    return store.folder(fingerprint)


def finish_adapters(store: Store, specs: list[StageSpec]) -> None:
    """Seal those of ``specs`` that train, with adapters in them."""
    for number, spec in enumerate(spec for spec in specs if spec.stage.name == "train"):
        with store.claim(spec.fingerprint) as claim:
            assert claim
            write_adapter(store.folder(spec.fingerprint), spec.config.student)
            store.seal(claim, {"fingerprint": spec.fingerprint, "identity": spec.identity, "started": 100.0 + number,
                               "seconds": 2.0, "metrics": {"examples": 96, "steps": 48, "first_loss": 0.6, "last_loss": 0.125},
                               "environment": {"gpus": [], "host": "node7", "git": {"commit": "c0ffee", "dirty": False},
                                               "packages": {"torch": "2.13.0"}}, "trackers": {}})


def swept(store: Store, folder: Path, name: str = "declared", **keys: Any) -> list[StageSpec]:
    """The stages of a finished sweep of made-up outputs."""
    _, specs = launch(store, declare(folder, name, **keys))
    finish_adapters(store, [spec for spec in specs if not store.has(spec.fingerprint)])
    finish(store, specs, correct=1, n=2, ungraded=0)
    return specs


def real(store: Store, fingerprint: str = TRAIN, alpha: int = 8, folder: Path | None = None) -> Any:
    """A finished train stage with a real adapter of random weights.  The model that it makes of the student, in eval mode.

    ``folder``: of the student; the toy one.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    from smartad.engines.loading import load_model
    from smartad.stage import Runtime

    base = identify(str(folder) if folder else "toy")
    torch.manual_seed(0)
    model = get_peft_model(load_model(base, Runtime(models={base: str(folder)})),
                           LoraConfig(r=4, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM",
                                      init_lora_weights=False)).eval()
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(store.root / fingerprint / "adapter", save_embedding_layers=False)
    seal(store, fingerprint, base)
    return model


def pull(store: Store, name: str, to: Path, **more: Any) -> pulled.Pulled:
    return pulled.pull(store, name, to, **{"models": {}, **more})
