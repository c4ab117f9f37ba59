"""Easy, medium and hard trajectories: bars, and hard minus easy as a heat-map (SmartAD's Fig. 3 and 4)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from smartad.figures import style
from smartad.figures.points import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHADES = ("#9ccbe8", "#3f8fc4", "#084a7a")
"""Easy, medium, hard."""


@style.styled
def bars(panels: Mapping[str, Mapping[str, Sequence[Point | None]]], names: Sequence[str], units: Sequence[str],
         caption: str) -> "Figure":
    """A panel per title, in two columns or, of many groups, one: a bar for each of ``names``, with its interval and its n.

    ``units``: of the panels' axes.  Panels of one unit have one scale.
    """
    groups = max(len(found) for found in panels.values())
    across = 1 if groups > 4 else 2
    labels = {name: style.wrapped(name, 120 // across // max(3, groups), 4) for found in panels.values() for name in found}
    tall = 1.7 + 0.12 * max(label.count("\n") for label in labels.values())
    furthest: dict[str, float] = defaultdict(float)
    for unit, found in zip(units, panels.values(), strict=True):
        furthest[unit] = max(furthest[unit], *(point.high for points in found.values() for point in points if point), 0.0)
    figure = style.figure(style.PAGE, tall * len(panels) / across + 0.2, caption)
    axes = style.grid(figure, len(panels), across)
    for axis, unit, (title, found) in zip(axes, units, panels.items(), strict=True):
        for which, shade in enumerate(SHADES[:len(names)]):
            for group, points in enumerate(found.values()):
                if point := points[which]:
                    x = group + 0.27 * (which - (len(names) - 1) / 2)
                    axis.bar(x, point.value, width=0.25, color=shade)
                    if point.high > point.low:
                        axis.errorbar(x, point.value, yerr=[[point.value - point.low], [point.high - point.value]], color="0.15",
                                      elinewidth=0.8, capsize=1.5)
                    axis.annotate(f"{point.n}", (x, 0), xytext=(0, 3), textcoords="offset points", rotation=90, ha="center",
                                  va="bottom", fontsize=5.5,
                                  bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8})
        axis.set_xticks(range(len(found)), [labels[name] for name in found])
        spare = max(0.0, (3 - groups) / 2)  # a single group need not fill the page
        axis.set_xlim(-0.5 - spare, groups - 0.5 + spare)
        axis.set_title(title)
        axis.set_ylabel(unit)
        axis.set_ylim(0, 1.05 * furthest[unit] or 1)
        axis.grid(axis="y")
    from matplotlib.patches import Patch

    style.legend(figure, [Patch(facecolor=shade) for shade in SHADES], list(names))
    return figure


@style.styled
def heat(panels: Mapping[str, Mapping[str, Sequence[float | None]]], columns: Sequence[str], caption: str) -> "Figure":
    """A panel per title: a line per group, a cell per column, its colour from below to above zero, its number in it.

    What is not measured is grey, and has a dash.
    """
    import numpy as np

    labels = [style.wrapped(name, 24) for name in next(iter(panels.values()))]
    tall = sum(0.16 + 0.14 * (1 + label.count("\n")) for label in labels)
    figure = style.figure(style.PAGE, tall + 0.7, caption)
    for axis, (title, found) in zip(style.grid(figure, len(panels), len(panels), sharey=True), panels.items(), strict=True):
        cells = np.array([[np.nan if value is None else value for value in line] for line in found.values()], dtype=float)
        reach = float(np.nanmax(np.abs(cells))) if np.isfinite(cells).any() else 0.0
        axis.set_facecolor("0.85")
        axis.imshow(cells, cmap=style.DIVERGING, vmin=-(reach or 1.0), vmax=reach or 1.0, aspect="auto")
        for (line, column), value in np.ndenumerate(cells):
            dark = abs(value) > 0.6 * reach
            axis.text(column, line, "–" if np.isnan(value) else f"{value:+.2f}", ha="center", va="center",
                      color="white" if dark else "black")
        axis.set_xticks(range(len(columns)), [style.wrapped(name, 14) for name in columns])
        axis.set_yticks(range(len(labels)), labels)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_title(title)
    return figure
