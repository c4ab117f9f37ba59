"""How calls of web_search are counted in code, and in which order models stand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartad.analysis.pictures.rows import by_size, searches


@pytest.mark.parametrize(("code", "calls"), [
    ("web_search('a'); print(web_search(web_search('b')))", 3), ("# web_search('a')\nx = 'web_search(1)'", 0),
    ("for q in qs:\n    web_search(q)", 1), ("tools.web_search('a')", 0), ("web_search('a'", 0), ("web_search\x00('a')", 0),
    ("web_search('\\d')", 1), ("(" * 5000 + "web_search(1)" + ")" * 5000, 0)])
def test_searches_are_calls_and_no_mentions(code, calls, recwarn):
    assert searches(code) == calls and not recwarn


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_code_has_a_number_of_searches(before, after):
    assert searches(f"{before}web_search{after}") >= 0


def test_sizes_are_in_order_and_names_last():
    assert sorted(["toy", "32B", "1.5B", "500M", "7B", "0.5B"], key=by_size) == ["500M", "0.5B", "1.5B", "7B", "32B", "toy"]
