"""What a paper prints, beside what we found."""

from collections.abc import Sequence
from dataclasses import dataclass

from smartad.stats import Share, macro, macro_difference

INSIDE, OUTSIDE, APART = "inside", "outside", "apart"
ABOUT = ("paper: what it prints, our difference to it, and whether it lies inside or outside our 95 % interval, which is what "
         "other questions may have done to our number alone; luck in training is not in it. apart: it lies outside, and chance "
         "in their questions and ours together does not explain the difference either (95 %, two independent samples; that "
         "both asked the same is not used).")


@dataclass(frozen=True)
class Printed:
    """One number of a paper, in percent."""

    text: str
    """As it is printed."""
    shares: tuple[Share, ...] = ()
    """The share that it is; of an average, those that it is the mean of.  Empty where that is not known."""


def beside(percent: float | None, ours: Sequence[Share | None], printed: Printed) -> str:
    """``paper 51.2, +2.8, inside``.  ``ours``: the share that ``percent`` is, or those that it is the mean of."""
    parts = [f"paper {printed.text}"]
    if percent is not None:
        parts.append(f"{round(percent - float(printed.text), 1) + 0.0:+.1f}")  # + 0.0: no difference has no sign of its own
        measured = [share for share in ours if share is not None]
        if measured and len(measured) == len(ours) == len(printed.shares):
            parts.append(verdict(measured, printed))
    return ", ".join(parts)


def verdict(ours: Sequence[Share], printed: Printed) -> str:
    """How far a printed number is from ours: what is apart is also outside."""
    low, high = macro(ours)
    if low <= float(printed.text) <= high:
        return INSIDE
    low, high = macro_difference(ours, printed.shares)
    return OUTSIDE if low <= 0 <= high else APART
