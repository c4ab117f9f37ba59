"""Answers that a file keeps as floating-point numbers."""

from decimal import Decimal


def decimal(number: float) -> str:
    """``number`` in plain decimals, as a person writes it: 27.0 is 27, 4.5e-05 is 0.000045."""
    text = format(Decimal(repr(number)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
