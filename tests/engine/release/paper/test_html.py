"""Markup that no text can break."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.release.paper.html import CUT, VOID, document, joined, named, quoted, table, tag


class Reader(HTMLParser):
    """Reads a page as a browser does: its elements, its attributes, its text; tags must nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@given(st.text(st.characters(codec=None, categories=None, exclude_categories=())))
def test_any_text_stays_text(text: str) -> None:
    page = Reader(tag("p", tag("b", text, title=text), quoted(text), named(text)).markup)
    assert page.tags == ["p", "b", "pre", "bdi"]
    assert [name for name, _ in page.attributes] == ["title", "dir"]
    joined(text).markup.encode()  # no half of a character is left


def test_a_text_in_code_is_shown_as_it_is() -> None:
    said = "</pre><script>alert('x')</script>\n<img src=x onerror=y> & \"both\""
    page = Reader(quoted(said).markup)
    assert page.tags == ["pre"] and "".join(page.words) == said
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in quoted("a\N{RIGHT-TO-LEFT OVERRIDE}b").markup


def test_long_texts_are_cut() -> None:
    assert len(quoted("a" * 10 * CUT).markup) < CUT + 40
    assert named("a b\n c" * 100, 20).markup == "<bdi>a b ca b ca b ca b c…</bdi>"


@pytest.mark.parametrize("name", ["script", "style", "iframe", "object", "embed", "base", "link", "form"])
def test_nothing_that_loads_or_runs_can_be_made(name: str) -> None:
    with pytest.raises(ValueError, match="loads and runs nothing"):
        tag(name)


@pytest.mark.parametrize("attribute", ["onclick", "onload", "href", "src", "style"])
def test_nor_an_attribute_that_does(attribute: str) -> None:
    with pytest.raises(ValueError, match="loads and runs nothing"):
        tag("p", "a", **{attribute: "x"})


def test_attributes_are_plain_numbers_and_words() -> None:
    made = tag("rect", x=1.0, y=float("nan"), width=0.123456, stroke_width=2, class_="a", role=None)
    assert made.markup == '<rect x="1" y="0" width="0.12" stroke-width="2" class="a"></rect>'


def test_a_row_is_named_by_its_first_cell() -> None:
    page = table(["a", "b"], [["one", "two"]], "figures").markup
    assert '<th scope="row">one</th><td>two</td>' in page and '<div class="wide figures">' in page


def test_a_page_may_load_nothing_and_style_itself_only_as_it_was_written() -> None:
    import base64
    import hashlib

    page = document("a <b>", "p { margin: 0 }", tag("p", "x"))
    style = re.search(r"<style>(.*)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src &#x27;none&#x27;; style-src &#x27;sha256-{digest}&#x27;" in page
    assert "<title>a &lt;b&gt;</title>" in page
