"""The log of a run: its events in plain words, or the output of its processes; searched, filtered, saved."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import DescendantBlur, DescendantFocus
from textual.message import Message
from textual.widgets import Input, Log

from llamaduo_tui.views import panes, phrases
from llamaduo_tui.views.text import one_line
from llamaduo_tui.views.watcher import KEPT_LINES, Line
from llamaduo_tui.widgets.following_log import FollowingLog, LogHighlighter
from llamaduo_tui.widgets.line_input import LineInput
from llamaduo_tui.widgets.lines import EDGES, fitting

_LEVELS = {"info": "all", "warning": "warnings", "error": "errors"}
_RANKS = list(_LEVELS)
CLIPBOARD_BYTES = 74_994
"""What hterm and others take in one OSC 52 sequence."""


class LogView(Vertical):
    """Follows the end of the log until the reader scrolls up."""

    ALLOW_MAXIMIZE = True
    HELP = """
## Log

The log follows the newest line until you scroll up; `end` follows it again. `O` switches between the *events* of the
run and the *output* of its processes (`worker.log`). Filter events by level and stage, search with `/`, and go from
match to match with `n` and `N`. `y` copies the text that you have selected with the mouse, else all lines that pass
the filters and the search; `Y` copies the visible lines. `w` and `W` save them to a file, in case your terminal
blocks copying.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", id="log.search", tooltip="Find text in the log"),
        Binding("n", "next(1)", "Next", id="log.next", tooltip="Go to the next match"),
        Binding("N", "next(-1)", "Previous", id="log.previous", tooltip="Go to the previous match", show=False),
        Binding("escape", "close_search", "End search", id="log.close", tooltip="End the search"),
        # The title of the border shows these, and a click on them works, too.
        Binding("O", "output", "Output", False, id="log.output", tooltip="Switch between events and output"),
        Binding("e", "level", "Level", False, id="log.level", tooltip="All, warnings and errors, or errors only"),
        Binding("g", "stage", "Stage", False, id="log.stage", tooltip="Show the lines of one stage, or all"),
        Binding("w", "save('all')", "Save", id="log.save", tooltip="Save the selection or all matches"),
        Binding("W", "save('seen')", "Save page", False, id="log.save_page", tooltip="Save the visible lines"),
        Binding("y", "copy('all')", "Copy", id="log.copy", tooltip="Copy the selection or all matches"),
        Binding("Y", "copy('seen')", "Copy page", False, id="log.copy_page", tooltip="Copy the visible lines"),
        Binding("j", "scroll(1)", "Down", False, id="log.down", tooltip="A line down"),
        Binding("k", "scroll(-1)", "Up", False, id="log.up", tooltip="A line up"),
        Binding("G", "end", "End", False, id="log.end", tooltip="To the end, and follow it"),
        Binding("ctrl+d", "half(1)", "Half down", False, id="log.half_down", tooltip="Half a page down"),
        Binding("ctrl+u", "half(-1)", "Half up", False, id="log.half_up", tooltip="Half a page up"),
        Binding("m", "maximize", "Maximise", False, id="log.maximise", tooltip="Use the whole screen, or go back"),
    ]

    class Save(Message):
        """Ask for these lines to be saved to a file."""

        def __init__(self, source: str, text: str) -> None:
            super().__init__()
            self.source, self.text = source, text

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, list[Line]] = {"events": [], "output": []}
        self._source = "events"
        self._level = "info"
        self._stage = ""
        self._highlighter = LogHighlighter()
        self._match = -1
        self.waiting: list[str] = []

    def compose(self) -> ComposeResult:
        yield FollowingLog(self._highlighter, KEPT_LINES)
        search = LineInput(placeholder="search the log", compact=True)
        search.display = False
        yield search

    def on_mount(self) -> None:
        self.watch(self.query_one(Log), "scroll_y", self._scrolled, init=False)
        self._show_border()

    def on_resize(self) -> None:
        self._show_border()

    def add(self, events: Sequence[Line], output: Sequence[Line]) -> None:
        """Append lines to both sources; while the user reads further up they wait, so that nothing moves."""
        for name, lines in (("events", events), ("output", output)):
            kept = self._kept[name]
            kept.extend(lines)
            del kept[:-KEPT_LINES]
        new = events if self._source == "events" else output
        if new:
            self.waiting += [line.text for line in new if self._passes(line)]
            del self.waiting[:-KEPT_LINES]
            if self.query_one(FollowingLog).follows:
                self._catch_up()
            self._show_place()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("level", "stage"):
            return self._source == "events"
        if action == "next":
            return bool(self._highlighter.wanted)
        if action == "close_search":
            return self.query_one(Input).display or bool(self._highlighter.wanted)
        return True

    def action_output(self) -> None:
        self._source = "output" if self._source == "events" else "events"
        self._refill()

    def action_level(self) -> None:
        self._level = _RANKS[(_RANKS.index(self._level) + 1) % len(_RANKS)]
        self._refill()

    def action_stage(self) -> None:
        stages = ["", *dict.fromkeys(line.stage for line in self._kept["events"] if line.stage)]
        here = stages.index(self._stage) if self._stage in stages else 0
        self._stage = stages[(here + 1) % len(stages)]
        self._refill()

    def action_search(self) -> None:
        search = self.query_one(Input)
        search.display = True
        search.focus()

    def action_close_search(self) -> None:
        search = self.query_one(Input)
        search.clear()
        search.display = False
        self._highlighter.wanted = ""
        self.query_one(Log).focus()
        self._show_border()

    def action_next(self, step: int) -> None:
        """Scroll to the next line with a match; after the last comes the first."""
        self._catch_up()
        log = self.query_one(Log)
        count = len(log.lines)
        wanted = self._highlighter.wanted
        for n in range(1, count + 1):
            at = (self._match + step * n) % count
            if wanted in log.lines[at].casefold():
                self._match = at
                log.scroll_to(y=max(0, at - log.size.height // 2), animate=False)
                break
        self._show_border()

    def action_save(self, which: str) -> None:
        lines = self._picked(which)
        if any(line.strip() for line in lines):
            self.post_message(self.Save(self._source, "\n".join(lines) + "\n"))
        else:
            self.notify("There is nothing to save.", markup=False)

    def action_copy(self, which: str) -> None:
        lines = self._picked(which)
        text = "\n".join(lines)
        cut = ", more than some terminals accept," if len(text.encode()) > CLIPBOARD_BYTES else ""
        self.app.copy_text(text, f"{phrases.count(len(lines), 'line')}{cut}")  # type: ignore[attr-defined]

    def action_scroll(self, lines: int) -> None:
        self.query_one(Log).scroll_relative(y=lines, animate=False)

    def action_half(self, direction: int) -> None:
        log = self.query_one(Log)
        log.scroll_relative(y=direction * max(1, log.size.height // 2), animate=False)

    def action_end(self) -> None:
        self.query_one(Log).scroll_end(animate=False)

    def _picked(self, which: str) -> list[str]:
        """The text that is selected with the mouse, else the visible lines, else all that pass the filters."""
        log = self.query_one(Log)
        if selected := self.screen.get_selected_text():
            return selected.split("\n")
        if which == "seen":
            return list(log.lines[log.scroll_offset.y :][: log.size.height])
        return self._matches()

    def action_maximize(self) -> None:
        if self.screen.maximized is not None:
            self.screen.minimize()
        else:
            self.screen.maximize(self, container=False)

    @on(Input.Changed)
    def _search_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._highlighter.wanted = event.value.casefold()
        self._match = -1
        self.query_one(Log).refresh()
        if event.value:
            self.action_next(-1)
        self._show_border()

    @on(Input.Submitted)
    def _search_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if not event.value:
            self.action_close_search()
        self.query_one(Log).focus()

    @on(DescendantFocus)
    @on(DescendantBlur)
    def _focus_changed(self) -> None:
        self._show_border()

    def _passes(self, line: Line) -> bool:
        if self._source == "output":
            return True
        enough = line.level not in _RANKS or _RANKS.index(line.level) >= _RANKS.index(self._level)
        return enough and self._stage in ("", line.stage)

    def _matches(self) -> list[str]:
        """All lines that pass the filters and the search."""
        lines = [*self.query_one(Log).lines, *self.waiting]
        return [line for line in lines if self._highlighter.wanted in line.casefold()]

    def _scrolled(self) -> None:
        if self.waiting and self.query_one(FollowingLog).follows:
            self.call_later(self._catch_up)  # it scrolls, too, and one scrolling must end before the next
        self._show_place()

    def _catch_up(self) -> None:
        """Show the lines that came while the user read further up."""
        if self.waiting:
            lines, self.waiting = self.waiting, []
            self.query_one(FollowingLog).append(lines)

    def _refill(self) -> None:
        self.waiting.clear()
        log = self.query_one(Log)
        log.clear()
        log.write_lines([line.text for line in self._kept[self._source] if self._passes(line)])
        log.scroll_end(animate=False)
        self._match = -1
        self._show_border()

    def _show_border(self) -> None:
        """Source, filters and actions in the title of the border, as many as fit; the keys of all are in the help."""
        parts = {"output": self._source}
        if self._source == "events":
            stage = re.sub(r"\W", " ", one_line(self._stage, 20))
            parts["level"] = f"level: {_LEVELS[self._level]}" if self._level != _RANKS[0] else "level"
            parts["stage"] = f"stage: {stage}" if stage else "stage"
        parts |= {"search": "search", "copy('all')": "copy", "save('all')": "save", "maximize": "maximise"}
        room = self.outer_size.width - EDGES - len(panes.titled("log", ""))
        fits = fitting(list(parts.values()), " · ", room) if room > 0 else len(parts)
        links = [f"[@click={action}]{text}[/]" for action, text in islice(parts.items(), fits)]
        self.border_title = panes.titled("log", " · ".join([*links, *(["…"] if fits < len(parts) else [])]))
        self._show_place()
        self.refresh_bindings()

    def _show_place(self) -> None:
        """At the lower border: the number of matching lines, or whether the log follows the end."""
        log, wanted = self.query_one(Log), self._highlighter.wanted
        if wanted:
            count = len(self._matches())
            place = f"{phrases.count(count, 'line')} match{'es' if count == 1 else ''}"
        else:
            place = "following" if log.is_vertical_scroll_end else "press end to follow"
        if self.border_subtitle != place:
            self.border_subtitle = place
