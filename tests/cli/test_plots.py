"""Plots: markup that parses, drawn to scale, with nothing of a label taken as markup."""

import itertools
import re
from xml.etree import ElementTree

import pytest
from investigate.cli.figures import interval, number, share
from investigate.cli.plots import STYLE, Bar, Point, bars, histogram, line, top

HOSTILE = "</text><script>alert(1)</script> & \"quoted\" 'too' ]]>"


def parsed(text: str) -> ElementTree.Element:
    frame = ElementTree.fromstring(text)
    (root,) = frame
    assert (frame.tag, root.tag) == ("div", "svg")
    return root


def numbers(element: ElementTree.Element, *names: str) -> list[float]:
    return [float(element.attrib[name]) for name in names]


def test_bars_are_to_scale_and_their_whiskers_span_the_interval() -> None:
    root = parsed(bars("rates", [Bar("a", 0.25, 0.1, 0.5), Bar("b", 0.5), Bar("none", 0.0)]))
    a, b, none = (float(one.attrib["width"]) for one in root.iter("rect"))
    assert a == pytest.approx(b / 2, abs=0.1)
    assert none == 0
    (whisker,) = root.iter("line")
    (left,) = {float(one.attrib["x"]) for one in root.iter("rect")}
    x1, x2 = numbers(whisker, "x1", "x2")
    assert (x1 - left, x2 - left) == pytest.approx((0.1 / 0.25 * a, 2 * a), abs=0.3)


def test_negative_bars_go_to_the_left() -> None:
    down, up = parsed(bars("rewards", [Bar("down", -1.0), Bar("up", 1.0)])).iter("rect")
    assert sum(numbers(down, "x", "width")) == pytest.approx(numbers(up, "x")[0], abs=0.2)
    assert numbers(down, "width") == pytest.approx(numbers(up, "width"), abs=0.2)


def test_a_histogram_has_a_column_per_bin() -> None:
    root = parsed(histogram("lengths", [(0, 1, 4), (1, 10, 8), (10, 100, 0), (5, 5, 2)]))
    heights = [float(one.attrib["height"]) for one in root.iter("rect")]
    assert heights == pytest.approx([heights[1] / 2, heights[1], 0, heights[1] / 4], abs=0.2)
    assert [title.text for title in root.iter("title")] == ["0 to 1: 4", "1 to 10: 8", "10 to 100: 0", "5: 2"]


def test_many_bins_have_few_labels() -> None:
    root = parsed(histogram("lengths", [(float(i), i + 1.0, 1) for i in range(60)]))
    places = sorted(float(one.attrib["x"]) for one in root.iter("text") if one.attrib["class"] == "axis middle")
    assert all(after - before >= 55 for before, after in itertools.pairwise(places))


def test_a_line_is_broken_where_nothing_is_known() -> None:
    points = [Point(0, 1, 0, 2), Point(1, 2, 1, 3), Point(2, None), Point(3, float("nan")), Point(4, 3, 2, 4)]
    root = parsed(line("reward", points))
    assert [len(one.attrib["points"].split()) for one in root.iter("polyline")] == [2, 1]
    (band,) = root.iter("polygon")
    assert len(band.attrib["points"].split()) == 4
    assert len(list(root.iter("circle"))) == 3
    heights = {one.attrib["cy"] for one in root.iter("circle")}
    assert len(heights) == 3


def test_higher_is_drawn_higher_and_the_band_holds_the_line() -> None:
    root = parsed(line("reward", [Point(0, 1, 0.5, 1.5), Point(10, 2, 1.5, 2.5)]))
    (path,) = root.iter("polyline")
    (x0, y0), (x1, y1) = (map(float, pair.split(",")) for pair in path.attrib["points"].split())
    assert x0 < x1
    assert y0 > y1
    (band,) = root.iter("polygon")
    tops = [float(pair.split(",")[1]) for pair in band.attrib["points"].split()]
    assert tops[0] < y0 < tops[3]
    assert tops[1] < y1 < tops[2]


def test_lines_on_one_scale_can_be_held_against_each_other() -> None:
    """The same value is as high in both, though one has a wider interval."""
    wide, narrow = [Point(0, 0.1, 0, 0.8), Point(1, 0.2, 0, 0.4)], [Point(0, 0.1, 0, 0.2), Point(1, None)]
    assert (top(wide), top(narrow), top([Point(0, None), Point(1, float("nan"))])) == (0.8, 0.2, 0.0)
    drawn = [parsed(line("share", points, from_zero=True, to=0.8)) for points in (wide, narrow)]
    first, second = (next(root.iter("circle")).attrib["cy"] for root in drawn)
    assert first == second
    alone = next(parsed(line("share", narrow, from_zero=True)).iter("circle")).attrib["cy"]
    assert float(alone) < float(first) - 20


@pytest.mark.parametrize(
    "drawn",
    [
        bars("none", []), bars("zero", [Bar("a", 0.0, 0.0, 0.0)]), histogram("none", []), histogram("one", [(3, 3, 0)]),
        line("none", []), line("unknown", [Point(0, None)]), line("one", [Point(7, 2.0, 1.0, 3.0)]),
        line("flat", [Point(0, 1.0), Point(1, 1.0)]), line("zero", [Point(0, 0.0), Point(1, 0.0)], from_zero=True),
        line("tiny", [Point(0, 1e-9), Point(1, 2e-9)]), line("huge", [Point(0, -1e12), Point(1, 1e12)]),
    ],
)  # fmt: skip
def test_odd_numbers_still_make_a_plot(drawn: str) -> None:
    parsed(drawn)
    assert "nan" not in drawn
    assert "inf" not in drawn


def test_labels_are_text() -> None:
    for drawn in (bars(HOSTILE, [Bar(HOSTILE, 1.0, note=HOSTILE)]), line(HOSTILE, []), histogram(HOSTILE, [])):
        root = parsed(drawn)
        assert {one.tag for one in root.iter()} <= {"svg", "g", "text", "title", "rect", "line"}
        assert root.attrib["aria-label"] == HOSTILE


def test_nothing_is_fetched_and_nothing_runs() -> None:
    drawn = STYLE + bars("a", [Bar("b", 1.0)]) + line("c", [Point(0, 1.0)])
    assert not re.search(r"https?:|url\(|@import|@font-face|<script|\son\w+=|<style|href", drawn)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.0, "0 %"), (1.0, "100 %"), (0.00001, "<0.1 %"), (0.99999, ">99.9 %"), (0.125, "12.5 %")],
)
def test_shares(value: float | None, text: str) -> None:
    assert share(value) == text


def test_intervals_and_numbers() -> None:
    assert interval(0.08107, 0.16907) == "0.081…0.169"
    assert interval(-1234.5, 4321.0) == "-1,234…4,321"
    assert interval(1.0, 1.0) == "1.000…1.000"
    assert (interval(None, 1.0), interval(0.0, None)) == ("", "")
    assert (number(12345.6), number(0.012345), number(0)) == ("12,346", "0.0123", "0")
