"""Pictures of plain numbers: what is drawn is what was given, names stay what they are, the same numbers are the same file."""

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from smartad import figures
from smartad.figures import curves, difficulty, rows, searches, style
from smartad.figures.points import Point, mean, share
from smartad.types import UserError

HOSTILE = ["$x_1$ costs 5$", "_hidden", r"\alpha{} \frac{1}{2}", "<b>&amp; \"quoted\"</b>", "]]>", "100 % #1", "{}",
           "a\x00b\x1b[31m", "\ud800 half", "$", "^_^", "-", "Ünïcode 模型", "x" * 300]


def panels(figure):
    """The first line of its title -> each panel."""
    return {axis.get_title().partition("\n")[0]: axis for axis in figure.axes}


def dots(axis):
    """Of each dot its value, and the ends of the interval behind it."""
    bars, found = axis.get_lines()[::2], axis.get_lines()[1::2]
    return [(float(dot.get_xdata()[0]), tuple(map(float, bar.get_xdata()))) for bar, dot in zip(bars, found, strict=True)]


def written(svg):
    """Its texts, line by line."""
    return [text.text or "" for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_dots_are_the_points_given_and_a_hole_has_none():
    points = [Point(50, 40, 60, 10), None, Point(0, 0, 30, 8)]
    axis, = rows.dots(["a", "b", "c"], {"math": points}, "pass@1", "About.").axes
    assert dots(axis) == [(50, (40, 60)), (0, (0, 30))]
    assert axis.get_title() == "math\nn = 8–10" and [t.get_text() for t in axis.get_yticklabels()] == ["a", "b", "c"]
    heights = [line.get_ydata()[0] for line in axis.get_lines()[1::2]]
    assert heights == [axis.get_yticks()[0], axis.get_yticks()[2]]


def test_stacks_are_as_long_as_their_shares():
    axis, = rows.stacks(["a", "b"], {"math": [(10.0, 5.0, 200), None]}, ("dark", "light"), [True, False], "votes", "%", "").axes
    assert [(bar.get_x(), bar.get_width(), bar.get_hatch()) for bar in axis.patches] == [(0, 10, "//////"), (10, 5, "//////")]
    assert [text.get_text() for text in axis.texts] == ["15.0 % of 200"]


def test_heat_map_writes_each_number_and_a_dash_for_none_and_zero_is_the_middle():
    axis, = difficulty.heat({"points": {"one": [-4.0, 1.0], "two": [None, 0.0]}}, ["G", "PQ"], "").axes
    assert [text.get_text() for text in axis.texts] == ["-4.00", "+1.00", "–", "+0.00"]
    assert axis.images[0].get_clim() == (-4, 4)


def test_line_is_broken_where_a_point_is_missing():
    point = Point(50, 40, 60, 10)
    axis, = curves.curves({"Avg": {"a": [(1.0, point), (2.0, None), (4.0, point)]}}, "K", "%", "").axes
    assert [math.isnan(y) for y in axis.containers[0].lines[0].get_ydata()] == [False, True, False]
    assert axis.get_title() == "Avg\nn = 10"


def test_heat_map_of_nothing_measured_is_drawn():
    axis, = difficulty.heat({"points": {"one": [None, None]}}, ["G", "PQ"], "").axes
    assert [text.get_text() for text in axis.texts] == ["–", "–"]


def test_more_lines_than_can_be_told_apart_are_refused():
    point = Point(1, 0, 2, 5)
    many = {f"line {i}": [(1.0, point), (2.0, point)] for i in range(style.SERIES + 1)}
    with pytest.raises(ValueError, match="9 lines"):
        curves.curves({"Avg": many}, "K", "%", "")
    with pytest.raises(ValueError, match="9 lines"):
        curves.groups({"math": (["1"], {name: [point] for name in many})}, "%", "")


def test_triangle_has_equal_weights_in_its_middle_and_one_weight_alone_in_its_corner():
    corners = [searches._flat(corner) for corner in ((3, 0, 0), (0, 1, 0), (0, 0, 0.5))]
    middle = searches._flat((2, 2, 2))
    assert [math.dist(a, b) for a, b in zip(corners, corners[1:] + corners[:1], strict=True)] == pytest.approx([1, 1, 1])
    assert [math.dist(middle, corner) for corner in corners] == pytest.approx([1 / math.sqrt(3)] * 3)


@pytest.mark.parametrize("form", figures.FORMATS)
def test_same_numbers_are_the_same_file_and_nothing_else_is_left(tmp_path, form):
    for name in ("one", "two"):
        figure = rows.dots(["a", "b"], {"math": [Point(50, 40, 60, 10), None]}, "pass@1", "About.", kinds=["1B", "3B"])
        figures.save(figure, tmp_path / f"{name}.{form}")
    assert (tmp_path / f"one.{form}").read_bytes() == (tmp_path / f"two.{form}").read_bytes()
    assert b"CreationDate" not in (tmp_path / f"one.{form}").read_bytes(), "both may be of one second"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"one.{form}", f"two.{form}"]


def test_file_of_another_kind_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="scores.gif ends in none of svg, pdf, png"):
        figures.save(rows.dots(["a"], {"math": [None]}, "", ""), tmp_path / "scores.gif")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="/proc/scores.svg cannot be written"):
        figures.save(rows.dots(["a"], {"math": [None]}, "", ""), Path("/proc/scores.svg"))


@pytest.mark.slow
def test_hostile_names_are_written_as_they_are(tmp_path):
    point = Point(50, 40, 60, 10)
    figure = rows.dots(HOSTILE, {name: [point] * len(HOSTILE) for name in HOSTILE[:4]}, "$", "In $caption$ <&> _", kinds=HOSTILE)
    found = written(figures.svg(figure))
    for label in ("$x_1$ costs 5$", "_hidden", r"\alpha{} \frac{1}{2}", "<b>&amp; \"quoted\"</b>", "]]>", "{}", "$", "^_^",
                  "Ünïcode 模型", "a�b�[31m"):
        assert found.count(label) >= 2, f"{label!r} as a row and in the legend"
    assert "In $caption$ <&> _" in found and figure.get_label() == "In $caption$ <&> _"
    for form in figures.FORMATS:
        figures.save(figure, tmp_path / f"hostile.{form}")
    assert (tmp_path / "hostile.png").read_bytes().startswith(b"\x89PNG")


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=8, unique=True))
@pytest.mark.slow
def test_any_names_are_drawn(labels):
    lines = {label: [(1.0, Point(1, 0, 2, 5)), (2.0, Point(2, 1, 3, 5))] for label in labels}
    ET.fromstring(figures.svg(curves.curves({"Avg": lines}, "K", "%", labels[0])))


@settings(deadline=None)
@given(st.text(max_size=200), st.integers(8, 40), st.integers(1, 4))
def test_label_keeps_to_its_lines_and_one_with_room_keeps_its_words(label, width, lines):
    shown = style.wrapped(label, width, lines)
    assert len(shown.split("\n")) <= lines
    assert all(c.isprintable() for c in shown if c != "\n")
    if len(label) <= width and label.isprintable():
        assert shown.split() == label.split()


def test_long_labels_that_differ_at_an_end_differ_when_shortened():
    long = "very long " * 30
    assert len({style.wrapped(label) for label in (f"a {long} c", f"b {long} c", f"a {long} d")}) == 3


@settings(deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_share_lies_in_its_interval(counted):
    right, n = counted
    found = share(right, n)
    assert found.low <= found.value <= found.high and found.value == pytest.approx(100 * right / n)
    assert found.low + 1e-9 >= 0 and found.high <= 100 + 1e-9


def test_share_of_nothing_is_none():
    assert share(0, 0) is None


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=3, max_size=40).filter(lambda values: len(set(values)) > 1))
def test_mean_has_the_interval_of_the_t_test(values):
    found = mean(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high, found.n) == (pytest.approx(low), pytest.approx(high), len(values))


def test_mean_of_equal_numbers_is_certain_and_one_number_has_no_interval():
    assert mean([2, 2, 2]) == Point(2, 2, 2, 3) and mean([1]) == Point(1, 1, 1, 1) and mean([]) is None
