"""Where a search has been: the weights of Eq. 5 in a triangle, all swept keys as parallel coordinates, and what mattered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from smartad.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CORNERS = ("reason", "action", "final")
BEST = "#D55E00"
Weights = tuple[float, float, float]


@dataclass(frozen=True)
class Scale:
    """One axis of the parallel coordinates."""

    name: str
    ticks: tuple[tuple[float, str], ...]
    """Heights from 0 to 1, and what they mean."""
    heights: tuple[float, ...]
    """Of every trial."""


@style.styled
def weights(triples: Sequence[Weights], scores: Sequence[float], scales: Sequence[Scale], best: int, metric: str,
            caption: str) -> "Figure":
    """Two panels: the trials' weights as shares of their sum, and a line per trial through ``scales``; both coloured by score.

    ``triples``: reason, action, final of each trial.  ``best``: which trial is marked.
    """
    import numpy as np

    figure = style.figure(style.PAGE, 2.9, caption)
    left, right = style.grid(figure, 2, 2, width_ratios=(1, 1.5))
    order = sorted(range(len(scores)), key=lambda trial: (trial == best, abs(scores[trial] - scores[best]) * -1))
    corners = [_flat(w) for w in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    _triangle(left, corners)
    xs, ys = zip(*(_flat(triples[trial]) for trial in order), strict=True)
    dots = left.scatter(xs, ys, c=[scores[trial] for trial in order], cmap=style.SCALE, s=22, linewidths=0.4, edgecolors="0.2",
                        zorder=3)
    left.scatter(*_flat(triples[best]), s=80, facecolors="none", edgecolors=BEST, linewidths=1.4, zorder=4)
    left.set_title("best " + " : ".join(f"{w:.3g}" for w in triples[best]), color=BEST, pad=14)
    colours = dots.cmap(dots.norm(np.array(scores)))
    _parallel(right, scales, [(trial, colours[trial]) for trial in order], best)
    figure.colorbar(dots, ax=right, label=style.plain(metric), shrink=0.9)
    return figure


@style.styled
def importances(found: Mapping[str, float], caption: str) -> "Figure":
    """A bar per key: how much of what sets the best trials apart lies in it, all together 1; the most important on top."""
    figure = style.figure(4.5, 0.6 + 0.22 * len(found), caption)
    (axis,) = style.grid(figure, 1, 1)
    axis.barh(range(len(found)), list(found.values()), color=style.DARK, height=0.6)
    for row, value in enumerate(found.values()):
        axis.annotate(f"{value:.2f}", (value, row), xytext=(2, 0), textcoords="offset points", va="center", fontsize=6.5)
    axis.set_yticks(range(len(found)), [style.wrapped(key) for key in found])
    axis.set_ylim(len(found) - 0.5, -0.5)
    axis.set_xlim(0, 1.1 * max(found.values()))
    axis.set_xlabel("importance")
    axis.grid(axis="x")
    return figure


def _flat(weights: Weights) -> tuple[float, float]:
    """Where three weights are in the triangle: reason lies left, action right, final on top."""
    _, action, final = (weight / sum(weights) for weight in weights)
    return action + final / 2, final * sqrt(3) / 2


def _triangle(axis: "Axes", corners: Sequence[tuple[float, float]]) -> None:
    axis.set_aspect("equal")
    axis.axis("off")
    axis.fill(*zip(*corners, strict=True), facecolor="none", edgecolor="0.3", linewidth=0.8)
    for fourth in (0.25, 0.5, 0.75):
        for ends in (((fourth, 1 - fourth, 0), (fourth, 0, 1 - fourth)), ((1 - fourth, fourth, 0), (0, fourth, 1 - fourth)),
                     ((1 - fourth, 0, fourth), (0, 1 - fourth, fourth))):
            axis.plot(*zip(*map(_flat, ends), strict=True), color="0.88", linewidth=0.6, zorder=1)
    for (x, y), name, up in zip(corners, CORNERS, (-4, -4, 4), strict=True):
        axis.annotate(name, (x, y), xytext=(0, up), textcoords="offset points", ha="center", va="top" if up < 0 else "bottom")


def _parallel(axis: "Axes", scales: Sequence[Scale], lines: Sequence[tuple[int, object]], best: int) -> None:
    from matplotlib.collections import LineCollection

    paths = [[(x, scale.heights[trial]) for x, scale in enumerate(scales)] for trial, _ in lines]
    axis.add_collection(LineCollection(paths, colors=[BEST if trial == best else colour for trial, colour in lines],
                                       linewidths=[2.2 if trial == best else 0.9 for trial, _ in lines]))
    for x, scale in enumerate(scales):
        axis.axvline(x, color="0.3", linewidth=0.6)
        for height, text in scale.ticks:
            axis.annotate(style.wrapped(text, 16, 2), (x, height), xytext=(2, 0), textcoords="offset points", va="center",
                          fontsize=6, bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6}, zorder=5)
    axis.set_xticks(range(len(scales)), [style.wrapped(scale.name, 14, 3) for scale in scales])
    axis.set_yticks([])
    axis.set_xlim(-0.05, len(scales) - 1 + 0.35)
    axis.set_ylim(-0.05, 1.05)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
