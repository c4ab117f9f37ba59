"""How every picture looks: sizes for a page of a paper, colours that the colour-blind tell apart, and text that stays text."""

import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

PAGE = 7.0
"""Inches: the width of a page's text, which pictures take."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C6D31")
"""After Okabe and Ito (2008)."""
MARKERS = "osD^vPX*"
"""One per colour, for those who print in grey."""
SERIES = len(COLOURS)
"""More lines than that in one panel cannot be told apart."""
DARK, LIGHT, GREY = "#0072B2", "#9ccbe8", "0.7"
SCALE = "cividis"
DIVERGING = "RdBu"

RULES: dict[str, Any] = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"], "font.size": 7.5,
    "axes.titlesize": 7.5, "axes.labelsize": 7.5, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "xtick.major.width": 0.6,
    "ytick.major.width": 0.6, "axes.axisbelow": True, "grid.color": "0.92", "grid.linewidth": 0.6, "lines.linewidth": 1.2,
    "lines.markersize": 3.5, "legend.frameon": False, "legend.handlelength": 1.6, "hatch.linewidth": 0.5, "savefig.dpi": 200,
    # A row may be called $x_1$.  With these no name is taken for mathematics, searchable text is kept, and no chance is left.
    "text.parse_math": False, "text.usetex": False, "axes.formatter.use_mathtext": False, "svg.fonttype": "none",
    "svg.hashsalt": "smartad", "pdf.fonttype": 42}


@contextmanager
def applied() -> Iterator[None]:
    """Whatever a person's matplotlibrc says: the same numbers are the same picture everywhere."""
    from matplotlib import style

    with style.context(["default", RULES]):
        yield


def styled(draw: Callable[P, "Figure"]) -> "Callable[P, Figure]":
    """``draw`` in this style."""
    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> "Figure":
        with applied():
            return draw(*args, **kwargs)
    return inside


def figure(width: float, height: float, caption: str) -> "Figure":
    """An empty one of ``width`` x ``height`` inches, which grows by its caption; the caption is its label, too."""
    from matplotlib.figure import Figure

    lines = textwrap.wrap(plain(caption), int(width * 18))
    found = Figure(figsize=(width, height + 0.13 * len(lines)), layout="constrained")
    found.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7, color="0.25")
    found.set_label(caption)
    return found


def grid(found: "Figure", count: int, across: int, **shared: Any) -> "list[Axes]":
    """``count`` panels, ``across`` in a line; what is left over of the last line is empty."""
    lines = -(-count // across)
    axes = list(found.subplots(lines, across, squeeze=False, **shared).flat)
    for empty in axes[count:]:
        empty.remove()
    return axes[:count]


def legend(found: "Figure", handles: Sequence[Any], labels: Sequence[str], across: int = 4) -> None:
    """Above the panels.  The texts are set last: a label that begins with ``_`` would else not be shown."""
    shown = found.legend(handles, [str(number) for number in range(len(labels))], loc="outside upper left",
                         ncols=min(across, len(labels)))
    for text, label in zip(shown.get_texts(), labels, strict=True):
        text.set_text(wrapped(label, 36))


def plain(text: str) -> str:
    """``text`` without what no font has and no file can hold: control characters and halves of characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def wrapped(label: str, width: int = 30, lines: int = 3) -> str:
    """A label in at most so many lines; of a longer one, its two ends, where labels differ."""
    label = plain(label)
    room = width * lines - lines + 1
    if len(label) > room:
        label = f"{label[:room // 2]}…{label[-(room - room // 2):]}"
    found = textwrap.wrap(label, width, break_on_hyphens=False) or [label]
    return "\n".join(found[:lines - 1] + ([" ".join(found[lines - 1:])] if len(found) >= lines else []))
