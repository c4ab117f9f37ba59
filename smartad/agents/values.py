"""Values of Python as text, from one process to another that must not trust it: JSON, in which what JSON lacks is tagged.

Nothing but data can be read back: whatever the sender writes, the receiver gets Python's own types, whose ``==`` is Python's own.
"""

import json
import numbers
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

DIGITS = 4000
"""Integers of more are written in base 16: Python refuses to read long ones in base 10, which takes quadratic time."""


def encode(value: Any) -> str:
    """``value`` as text.  Subclasses of Python's types become those, and numbers of other libraries the nearest.

    Raises TypeError for anything else, RecursionError for what contains itself.
    """
    return json.dumps(_plain(value))


def decode(text: str) -> Any:
    """The value in ``text``.  Raises ValueError, TypeError or RecursionError for what ``encode`` did not write."""
    return _restored(json.loads(text))


def _plain(value: Any) -> Any:
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Fraction):
        return {"fraction": [_plain(value.numerator), _plain(value.denominator)]}
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if isinstance(value, numbers.Integral):
        whole = int(value)
        return whole if abs(whole) < 10**DIGITS else {"int": hex(whole)}
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, numbers.Complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes | bytearray):
        return {"bytearray" if isinstance(value, bytearray) else "bytes": value.hex()}
    if isinstance(value, Mapping):
        return {"dict": [[_plain(key), _plain(item)] for key, item in value.items()]}
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            items = [_plain(item) for item in value]
            return items if kind is list else {kind.__name__: items}
    raise TypeError(f"a value of type {type(value).__name__}, which is none of Python's plain types")


RESTORE: Mapping[str, Callable[[Any], Any]] = {
    "int": lambda text: int(text, 16), "fraction": lambda parts: Fraction(*parts), "decimal": Decimal,
    "complex": lambda parts: complex(*parts), "bytes": bytes.fromhex, "bytearray": bytearray.fromhex, "tuple": tuple, "set": set,
    "frozenset": frozenset, "dict": dict,
}


def _restored(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_restored(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if len(plain) != 1 or not (found := RESTORE.keys() & plain):
        raise ValueError(f"no such kind of value: {', '.join(plain)[:60]!r}")
    tag = found.pop()
    return RESTORE[tag](_restored(plain[tag]))
