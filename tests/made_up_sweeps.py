"""Finished sweeps that nobody ran, from benchmarks/synthetic.py."""

import sys

from conftest import ROOT
from smartad.store import Store

sys.path.insert(0, str(ROOT / "benchmarks"))
import results_scale
import synthetic

__all__ = ["COMMIT", "made_up", "results_scale", "synthetic"]
COMMIT = "c" * 40

def made_up(folder, rows=10, questions=6):
    """A store with one sweep of ten benchmarks, and the sweep's name."""
    store = Store(folder / "store").open()
    declared = synthetic.sweep_file(folder, rows, train_questions=4)
    maker = synthetic.Maker(store, questions)
    maker.environment = {**maker.environment, "git": {"commit": COMMIT, "dirty": False}}
    maker.sweep(declared)
    return store, declared.stem
