"""Rows of a table as pictures: a panel per benchmark, a line per row."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from smartad.figures import style
from smartad.figures.points import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Artists are in_layout=False where there are many and none reaches out of its panel: to ask each for its size takes seconds.
LINE, GAP = 0.125, 0.06
"""Inches: a line of a label, and what parts two labels."""


@style.styled
def dots(labels: Sequence[str], panels: Mapping[str, Sequence[Point | None]], unit: str, caption: str,
         limits: tuple[float, float | None] = (0, 100), kinds: Sequence[str] = ()) -> "Figure":
    """Every row's number with its interval.  What is not measured has no dot.

    ``panels``: title -> a point per row of ``labels``; its n stands in the title.  ``unit``: what the axes count; they have
    one scale, from ``limits[0]`` to ``limits[1]``, None being as far as there are numbers.
    ``kinds``: of each row, what its colour says; none is one colour.
    """
    figure, axes, heights = _panels(labels, list(panels), 6, caption, unit)
    furthest = max((point.high for points in panels.values() for point in points if point), default=0.0) or 1.0
    colours = _colours(kinds)
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        for row, (height, point) in enumerate(zip(heights, points, strict=True)):
            if point:
                colour = colours[kinds[row]] if kinds else style.DARK
                axis.plot([max(point.low, limits[0]), point.high], [height, height], color=colour, alpha=0.35, linewidth=2.5,
                          zorder=3, solid_capstyle="butt", clip_on=False, in_layout=False)
                axis.plot(point.value, height, "o", color=colour, zorder=4, clip_on=False, in_layout=False)
        axis.set_title(f"{style.wrapped(title, 18)}\n{spread([p.n for p in points if p])}")
        axis.set_xlim(limits[0], limits[1] or 1.05 * furthest)
    _legend(figure, colours, "o", linestyle="")
    return figure


@style.styled
def boxes(labels: Sequence[str], panels: Mapping[str, Sequence[Sequence[float]]], unit: str, caption: str,
          kinds: Sequence[str] = ()) -> "Figure":
    """How the numbers of every row are spread: quartiles and median, whiskers from the 5th to the 95th percentile, and the mean.

    ``panels``: title -> of each row of ``labels`` its numbers, none where none were counted.
    """
    figure, axes, heights = _panels(labels, list(panels), 5, caption, unit)
    colours = _colours(sorted(kinds))
    for axis, (title, rows) in zip(axes, panels.items(), strict=True):
        for row, (height, values) in enumerate(zip(heights, rows, strict=True)):
            if len(values):
                colour = colours[kinds[row]] if kinds else style.DARK
                axis.boxplot([list(values)], positions=[height], orientation="horizontal", widths=LINE, whis=(5, 95),
                             showfliers=False, showmeans=True, patch_artist=True, manage_ticks=False,
                             boxprops={"facecolor": colour, "alpha": 0.35, "linewidth": 0.6},
                             medianprops={"color": colour, "linewidth": 1.5}, whiskerprops={"linewidth": 0.6},
                             capprops={"linewidth": 0.6},
                             meanprops={"marker": "d", "markersize": 3, "markerfacecolor": "k", "markeredgecolor": "k"})
        axis.set_title(f"{style.wrapped(title, 18)}\n{spread([len(values) for values in rows if len(values)])}")
        axis.set_xlim(left=0)
    _legend(figure, colours, "s", linestyle="")
    return figure


@style.styled
def stacks(labels: Sequence[str], panels: Mapping[str, Sequence[tuple[float, float, int] | None]], names: tuple[str, str],
           hatched: Sequence[bool], hatching: str, unit: str, caption: str) -> "Figure":
    """Two shares of every row, dark and light, end to end.

    ``panels``: title -> of each row of ``labels`` its dark and its light share in percent, and of how many; None where it has
    none.  ``names``: of dark and light.  ``hatched``: the rows of which ``hatching`` holds.
    """
    figure, axes, heights = _panels(labels, list(panels), 4, caption, unit)
    most = max((found[0] + found[1] for rows in panels.values() for found in rows if found), default=0.0) or 1.0
    for axis, (title, rows) in zip(axes, panels.items(), strict=True):
        for row, (height, found) in enumerate(zip(heights, rows, strict=True)):
            if found:
                hatch = "//////" if hatched[row] else None
                dark, light, n = found
                for left, width, colour in ((0.0, dark, style.DARK), (dark, light, style.LIGHT)):
                    axis.barh(height, width, left=left, height=LINE, color=colour, edgecolor="white", linewidth=0, hatch=hatch)
                axis.annotate(f"{dark + light:.1f} % of {n}", (dark + light, height), xytext=(2, 0), textcoords="offset points",
                              va="center", fontsize=6, color="0.3", in_layout=False)
        axis.set_title(style.wrapped(title, 18))
        axis.set_xlim(0, 1.8 * most)  # what stands beside the longest bar needs room
        axis.set_xticks([tick for tick in axis.get_xticks() if tick <= min(100, 1.2 * most)])
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=style.DARK), Patch(facecolor=style.LIGHT),
               Patch(facecolor=style.GREY, hatch="//////", edgecolor="white")][:3 if any(hatched) else 2]
    style.legend(figure, handles, [*names, hatching][:len(handles)])
    return figure


def spread(counts: Sequence[int]) -> str:
    """``n = 50``, or from the least to the most."""
    return f"n = {min(counts)}–{max(counts)}" if len(set(counts)) > 1 else f"n = {counts[0]}" if counts else "n = 0"


def _panels(labels: Sequence[str], titles: Sequence[str], across: int, caption: str,
            unit: str) -> "tuple[Figure, list[Axes], list[float]]":
    """The figure, its axes, and the height of each row: inches from the top, so that labels of several lines have room."""
    names = [style.wrapped(label) for label in labels]
    thick = [GAP + LINE * (1 + name.count("\n")) for name in names]
    heights = [sum(thick[:row]) + thick[row] / 2 for row in range(len(names))]
    lines = -(-len(titles) // across)
    across = -(-len(titles) // lines)
    figure = style.figure(max(4.5, min(style.PAGE, 2.2 + 1.2 * across)), lines * (sum(thick) + 0.8) + 0.25, caption)
    axes = style.grid(figure, len(titles), across, sharey=True)
    for number, axis in enumerate(axes):
        axis.set_yticks(heights, names)
        axis.set_ylim(sum(thick), 0)
        axis.grid(axis="x")
        axis.tick_params(axis="y", length=0)
        if number >= len(axes) - across:
            axis.set_xlabel(unit)
    return figure, axes, heights


def _colours(kinds: Sequence[str]) -> dict[str, str]:
    return {kind: style.COLOURS[number % style.SERIES] for number, kind in enumerate(dict.fromkeys(kinds))}


def _legend(figure: "Figure", colours: Mapping[str, str], marker: str, **how: Any) -> None:
    from matplotlib.lines import Line2D

    if len(colours) > 1:
        style.legend(figure, [Line2D([], [], color=colour, marker=marker, **how) for colour in colours.values()], list(colours))
