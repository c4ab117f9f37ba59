"""Numbers against a quantity that was swept."""

from collections.abc import Mapping, Sequence
from math import nan
from typing import TYPE_CHECKING

from smartad.figures import style
from smartad.figures.points import Point
from smartad.figures.rows import spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS = 4


@style.styled
def curves(panels: Mapping[str, Mapping[str, Sequence[tuple[float, Point | None]]]], quantity: str, unit: str,
           caption: str) -> "Figure":
    """A panel per title with a line per name through its (quantity, point), and the points' intervals; broken where it has none.

    Raises ValueError for more names than can be told apart (``style.SERIES``).
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    if len(names) > style.SERIES:
        raise ValueError(f"{len(names)} lines cannot be told apart, only {style.SERIES}")
    across = min(ACROSS, len(panels))
    tall = 1.75 * -(-len(panels) // across) + 0.24 * -(-len(names) // 2)
    figure = style.figure(max(3.5, style.PAGE * across / ACROSS), tall, caption)
    ticks = sorted({x for lines in panels.values() for points in lines.values() for x, _ in points})
    step = (ticks[-1] - ticks[0]) / 100 if len(ticks) > 1 else 0.0
    handles = {}
    for axis, (title, lines) in zip(style.grid(figure, len(panels), across), panels.items(), strict=True):
        for name, points in lines.items():
            which = names.index(name)
            xs = [x + step * (which - (len(names) - 1) / 2) for x, _ in points]  # side by side, so that none hides another
            values = [point.value if point else nan for _, point in points]
            reach = [[p.value - p.low if p else nan for _, p in points], [p.high - p.value if p else nan for _, p in points]]
            handles[name] = axis.errorbar(xs, values, yerr=reach, color=style.COLOURS[which], marker=style.MARKERS[which],
                                          elinewidth=0.8, capsize=1.5)
        axis.set_title(f"{style.wrapped(title, 22)}\n{spread([p.n for points in lines.values() for _, p in points if p])}")
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_xlabel(quantity)
        axis.set_ylabel(unit)
        axis.grid(axis="y")
    if len(names) > 1:
        style.legend(figure, list(handles.values()), list(handles), across=2)
    return figure


@style.styled
def groups(panels: Mapping[str, tuple[Sequence[str], Mapping[str, Sequence[Point | None]]]], unit: str, caption: str) -> "Figure":
    """A panel per title: (groups, name -> a point per group), side by side in each group.  The n of a group stands below it.

    Raises ValueError for more names than can be told apart (``style.SERIES``).
    """
    names = list(dict.fromkeys(name for _, lines in panels.values() for name in lines))
    if len(names) > style.SERIES:
        raise ValueError(f"{len(names)} lines cannot be told apart, only {style.SERIES}")
    widest = max(len(kinds) for kinds, _ in panels.values())
    across = max(1, min(len(panels), 8 // widest))
    lines = -(-len(panels) // across)
    figure = style.figure(style.PAGE, 2.1 * lines + 0.13 * -(-len(names) // 3), caption)
    handles = {}
    for axis, (title, (kinds, found)) in zip(style.grid(figure, len(panels), across), panels.items(), strict=True):
        for name, points in found.items():
            which = names.index(name)
            at = [group + 0.8 * ((which + 0.5) / len(names) - 0.5) for group in range(len(kinds))]
            known = [(x, point) for x, point in zip(at, points, strict=True) if point]
            reach = [[p.value - p.low for _, p in known], [p.high - p.value for _, p in known]]
            handles[name] = axis.errorbar([x for x, _ in known], [p.value for _, p in known], yerr=reach, linestyle="",
                                          color=style.COLOURS[which], marker=style.MARKERS[which], elinewidth=1.0)
        counts = [spread([point.n for points in found.values() if (point := points[group])]) for group in range(len(kinds))]
        axis.set_xticks(range(len(kinds)), [f"{style.wrapped(kind, 13)}\n{n}" for kind, n in zip(kinds, counts, strict=True)])
        axis.set_xlim(-0.5, len(kinds) - 0.5)
        axis.set_ylim(-3, 103)
        axis.set_title(style.wrapped(title, 40))
        axis.set_ylabel(unit)
        axis.grid(axis="y")
    style.legend(figure, list(handles.values()), list(handles), across=3)
    return figure
