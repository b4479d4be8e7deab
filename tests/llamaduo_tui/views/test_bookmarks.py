"""Bookmarks: the last word on a prompt counts, and damage costs no more than its line."""

from __future__ import annotations

from collections.abc import Callable

from engine.protocol.run_dir import Run
from llamaduo_tui.views import bookmarks
from llamaduo_tui.views.bookmarks import Bookmark


def test_bookmarks_are_set_and_removed(make_run: Callable[..., Run]) -> None:
    run = make_run()
    assert bookmarks.read(run) == set()
    for mark in (Bookmark(prompt="a"), Bookmark(prompt="b"), Bookmark(prompt="a", on=False)):
        bookmarks.write(run, mark)
    with bookmarks.file_of(run).open("a") as file:
        file.write('{"prompt": 7}\n[]\n{"prompt": "c"}\n{"promp')
    assert bookmarks.read(run) == {"b", "c"}
    assert bookmarks.file_of(run).stat().st_mode & 0o077 == 0
    assert not run.commands_file.exists()
