"""A cache of Textual's, made to keep colours alone."""

from __future__ import annotations

from functools import lru_cache

from textual._styles_cache import StylesCache


def keep_colours_only() -> None:
    """Take the widget out of the keys by which Textual 8.2.8 caches background styles.

    The cache would keep the last 1,024 widgets that drew anything, with all the lines that they have drawn: 60 MB after
    a hundred visits to a run.
    """
    styles = lru_cache(1024)(StylesCache.get_inner_outer.__wrapped__)  # type: ignore[attr-defined]
    setattr(StylesCache, "get_inner_outer", classmethod(styles))  # noqa: B010 - a method cannot be assigned to
