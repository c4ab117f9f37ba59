"""Values from one process to another: what comes back is what was sent, and nothing but data can be."""

import enum
import json
import math
from collections import Counter, OrderedDict, namedtuple
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartad.agents.values import decode, encode

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.integers(10**4400, 10**4401), st.floats(allow_nan=False),
                    st.text(), st.text(st.characters(codec=None)), st.binary(), st.complex_numbers(allow_nan=False),
                    st.fractions(), st.decimals(allow_nan=False))
keys = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.tuples(st.integers(), st.text()))
values = st.recursive(scalars, lambda inner: st.one_of(
    st.lists(inner), st.lists(inner).map(tuple), st.sets(keys), st.frozensets(keys), st.dictionaries(keys, inner),
    st.binary().map(bytearray)), max_leaves=20)


def same(one, other):
    """Equal, and of the same types all the way down; dictionaries in the same order."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, float):
        return one.hex() == other.hex()
    return one == other


def comes_back(value, write, read):
    assert same(read(write(value)), value)


@pytest.mark.slow
@given(values)
def test_value_comes_back_as_it_was(value):
    comes_back(value, encode, decode)


@pytest.mark.parametrize("value", [(1,), {1: 2}, {1}, b"x", 1j, Fraction(1, 3), Decimal("0.1"), 10**5000],
                         ids=lambda value: type(value).__name__)
def test_plain_json_would_not_do(value):
    with pytest.raises((AssertionError, TypeError, ValueError)):
        comes_back(value, json.dumps, json.loads)


def test_values_that_are_not_pythons_own_become_the_nearest():
    level = enum.IntEnum("level", "low high")
    for value, plain in [(level.high, 2), (enum.StrEnum("word", "yes").yes, "yes"), (Counter("aab"), {"a": 2, "b": 1}),
                         (OrderedDict(a=1), {"a": 1}), (namedtuple("point", "x y")(1, 2), (1, 2)), (np.int64(3), 3),
                         (np.float32(0.5), 0.5), (np.bool_(True), True), (np.str_("x"), "x"), (float("inf"), math.inf)]:
        assert same(decode(encode(value)), plain), value
    assert math.isnan(decode(encode(math.nan)))


@pytest.mark.parametrize("value", [object(), print, range(3), iter([]), [object()], {"a": {1: print}}])
def test_value_that_is_no_data_is_refused(value):
    with pytest.raises(TypeError, match="none of Python's plain types"):
        encode(value)


@pytest.mark.parametrize("text", ['{"eval": "1"}', '{"tuple": [], "set": []}', "{}", '{"set": [[1]]}', '{"int": 5}',
                                  '{"dict": [1]}', "]", '{"fraction": ["a", 1]}', "[" * 100_000])
def test_text_that_is_no_value_is_refused(text):
    with pytest.raises((ValueError, TypeError, RecursionError)):
        decode(text)
