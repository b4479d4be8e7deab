"""Code in Markdown is coloured by the language that it names, and by no guess."""

from __future__ import annotations

from llamaduo_tui.widgets.plain_markdown import PlainMarkdown


def test_code_that_names_no_language_is_plain() -> None:
    fence = PlainMarkdown.BLOCKS["code_block"]
    assert len(fence.highlight("serve it with OpenAI's API", "").spans) == 1  # type: ignore[attr-defined]
    assert len(fence.highlight("def f(): return 1", "python").spans) > 1  # type: ignore[attr-defined]
