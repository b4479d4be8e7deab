"""A cache of Textual's, made to keep colours alone."""

from __future__ import annotations

from functools import lru_cache, partial

from textual._styles_cache import StylesCache
from textual.color import Color
from textual.style import Style

_styles = lru_cache(1024)(partial(StylesCache.get_inner_outer.__wrapped__, StylesCache))


def keep_colours_only() -> None:
    """Take the widget out of the keys by which Textual 8.2.8 caches background styles.

    The cache would keep the last 1,024 widgets that drew anything, with all the lines that they have drawn: 50 MB after
    a hundred visits to a run.
    """
    StylesCache.get_inner_outer = _by_colours  # type: ignore[method-assign, assignment]


def _by_colours(_: StylesCache, base: Color, background: Color) -> tuple[Style, Style]:
    return _styles(base, background)
