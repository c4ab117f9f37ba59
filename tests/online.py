"""A sweep of the toy world small enough to be run in a test, and commands with W&B set up for a double of its server."""

from pathlib import Path

import yaml

from command import smartad
from conftest import ROOT
from wandb_double import KEY, WandbDouble

NAME = "tiny"
ARMS = {"base": {"train": None}, "min": {"select.rule": "min"}, "max": {"select.rule": "max"}}
SMALL = ["limits.train_questions=4", "limits.questions=3", "collect.samples=2", "select.first=2", "train.epochs=1",
         "benchmarks={in_domain: [toy_math], out_of_domain: []}"]


def declare(folder: Path, arms: object = ARMS) -> str:
    """The sweep's file: three rows of 19 stages in all, on one benchmark."""
    path = folder / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump({"base": [str(ROOT / "configs/toy.yaml"), *SMALL], "arms": arms}, sort_keys=False))
    return str(path)


def online(server: WandbDouble, home: Path, **more: str) -> dict[str, str]:
    """Variables that set W&B up for ``server``, and for nothing else."""
    return {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "HOME": str(home), "OMP_NUM_THREADS": "1", **more}


def run_untracked(folder: Path) -> Path:
    """Run the sweep without any tracker.  Its store."""
    smartad("sweep", declare(folder), "--track", "none", store=folder / "store", OMP_NUM_THREADS="1")
    return folder / "store"
