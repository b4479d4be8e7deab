"""Pictures that say what the numbers say."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from engine.protocol.decision import Interval
from engine.release.paper import figures
from engine.release.paper.figures import Column, Scale
from engine.release.paper.html import Html


def drawn(picture: Html) -> ElementTree.Element:
    return ElementTree.fromstring(picture.markup)


def of(picture: Html, name: str, style: str) -> list[ElementTree.Element]:
    return [one for one in drawn(picture).iter(name) if style in one.get("class", "").split()]


def points(mean: float, low: float, high: float) -> Interval:
    return Interval(mean=mean, low=low, high=high)


def test_a_scale_keeps_what_is_outside_at_its_ends() -> None:
    scale = Scale(0, 100, 200, 0)
    assert [scale.at(value) for value in (0, 25, 100, -5, 900, float("nan"))] == [200, 150, 0, 200, 0, 200]
    assert Scale(3, 3, 0, 10).at(3) == 0


def test_marks_and_bounds_are_at_their_scores() -> None:
    columns = [
        Column("untuned", points(0, 0, 10), points(50, 40, 60)),
        Column("sealed test", points(100, 90, 100), points(75, 70, 80), apart=True),
    ]
    picture = figures.scores_by_round(columns, (85.0, 70.0), "said")
    bottom, top = 300 - figures.BOTTOM, figures.TOP
    heights = [float(one.get("cy", "")) for one in of(picture, "circle", "mark")]
    assert heights == [bottom, top]
    squares = [float(one.get("y", "")) + figures.MARK for one in of(picture, "rect", "mark")]
    assert squares == [(bottom + top) / 2, bottom - 0.75 * (bottom - top)]
    targets = sorted(float(one.get("y1", "")) for one in of(picture, "line", "target"))
    assert targets == [round(bottom - share * (bottom - top), 2) for share in (0.85, 0.70)]
    assert [one.text for one in drawn(picture).iter("text")][-2:] == ["untuned", "sealed test"]
    assert len(of(picture, "line", "apart")) == 1 and drawn(picture).findtext("title") == "said"


def test_equal_targets_are_one_line() -> None:
    picture = figures.scores_by_round([Column("a", points(1, 1, 1), points(1, 1, 1))], (85.0, 85.0), "said")
    assert len(of(picture, "line", "target")) == 1


def test_many_rounds_share_few_names() -> None:
    columns = [Column(f"round {place}", points(50, 40, 60), points(50, 40, 60)) for place in range(60)]
    names = [one.text for one in drawn(figures.scores_by_round(columns, None, "said")).iter("text")]
    assert len([name for name in names if name and name.startswith("round")]) <= figures.LABELS + 1
    assert "round 59" in names


def test_each_prompt_is_in_one_bin() -> None:
    picture = figures.histogram([0.0, 1, 4.9, 5, 99, 100, 100], 85, "said")
    counts = [one.text for one in drawn(picture).iter("text")][:3]
    assert counts == ["3", "1", "3"]
    assert len(of(picture, "rect", "one")) == 3
    assert len(list(drawn(figures.histogram([], None, "said")).iter("rect"))) == 0


def test_a_strip_shows_the_mean_between_its_bounds_and_the_margin() -> None:
    picture = figures.interval_strip(points(-1.0, -3.0, 0.5), -3.0, 1.0, [-1.0, 0.0], "said")
    (mark,) = of(picture, "circle", "mark")
    (margin,) = of(picture, "line", "target")
    assert mark.get("cx") == margin.get("x1") == "120"
    assert of(picture, "line", "one")[0].get("x1") == "6"


def test_a_share_is_as_wide_as_it_is_large() -> None:
    (half,) = of(figures.share_bar(0.5, 0.4, "said"), "rect", "one")
    assert float(half.get("width", "")) == figures.WIDTH / 2 - 1
    assert of(figures.share_bar(0.0, 0.0, "said"), "rect", "one") == []
    assert len(of(figures.from_to(None, 50, "said"), "circle", "hollow")) == 0


def test_pictures_need_no_style_of_their_own() -> None:
    assert not re.search(r'style="|<style', figures.legend().markup)
