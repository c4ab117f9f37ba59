"""Sweeps of which there are pictures: their outputs are made up (small_results)."""

from pathlib import Path
from types import SimpleNamespace

import small_results
from smartad.analysis.pictures import draw, finished
from smartad.store import Store
from smartad.types import SegmentWeights

BENCHMARKS = ("toy_math", "toy_qa", "toy_qa3")
COT = {"dialect": "cot", "evaluate.agent": "cot", **{f"{stage}.prompt": "toy_cot" for stage in ("score", "train", "evaluate")},
       "collect.agent": "cot", "collect.prompt": "toy_cot"}
ARMS = {r"$x_1$ & <b> \alpha": {"train": None}, "agent": {}, "max": {"select.rule": "max"},
        "+ sag": {"evaluate.candidates": 4, "evaluate.temperature": 0.4},
        "_chain": COT, "late": {"train.rank": 3}}
SWEEPS = {"arms": {"arms": ARMS, "seeds": [0, 1], "unfinished": lambda label: label == "late"},
          "ks": {"arms": {"min": {"select.rule": "min"}, "max": {"select.rule": "max"}}, "space": {"select.first": [1, 5, 10]}},
          "search": {"space": {"train.weights.action": [0.5, 1, 2], "train.weights.final": [1, 2],
                               "select.rule": ["min", "max"]}},
          "presets": {"arms": {name: {"train.weights": name} for name in SegmentWeights.presets}}}


def make(folder: Path) -> SimpleNamespace:
    """The store of all sweeps, and of each of them what is finished."""
    store = Store(folder / "store").open()
    books = {name: small_results.run(store, folder, name, **keys) for name, keys in SWEEPS.items()}
    return SimpleNamespace(store=store, books=books, of={name: finished(store, book) for name, book in books.items()})


def picture(drawn, sweep, name):
    return draw(drawn.store, drawn.books[sweep], name, of=drawn.of[sweep])


def labels(axis):
    """Of its rows; they stand beside the first of the panels that share them."""
    return [text.get_text().replace("\n", " ") for text in axis.figure.axes[0].get_yticklabels()]
