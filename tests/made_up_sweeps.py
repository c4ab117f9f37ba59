"""Finished sweeps that nobody ran, from benchmarks/synthetic.py."""

import dataclasses
import sys

from conftest import ROOT
from smartad.analysis.arms import Arm, Spot
from smartad.store import Store
from smartad.sweep import ledger

sys.path.insert(0, str(ROOT / "benchmarks"))
import results_scale
import synthetic

__all__ = ["COMMIT", "called", "made_up", "results_scale", "synthetic"]
COMMIT = "c" * 40


def made_up(folder, rows=10, questions=6, graders="math_strict"):
    """A store with one sweep of ten benchmarks, and the sweep's name."""
    store = Store(folder / "store").open()
    declared = synthetic.sweep_file(folder, rows, train_questions=4, graders=graders)
    maker = synthetic.Maker(store, questions)
    maker.environment = {**maker.environment, "git": {"commit": COMMIT, "dirty": False}}
    maker.sweep(declared)
    return store, declared.stem


def called(store, cell, label):
    """The same cell, of a row that the ledger calls ``label`` from now on."""
    book, trial = cell.arm.book, dataclasses.replace(cell.arm.trial, label=label)
    book = dataclasses.replace(book, trials=tuple(trial if one == cell.arm.trial else one for one in book.trials))
    ledger.save(store, book)
    return Spot(Arm(book, trial), cell.run, cell.benchmark)
