"""The log of a run: the events in plain words, or what its processes printed; searched, filtered, saved."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.highlighter import Highlighter
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import DescendantBlur, DescendantFocus
from textual.message import Message
from textual.widgets import Input, Log

from llamaduo_tui.views import phrases
from llamaduo_tui.views.text import one_line
from llamaduo_tui.views.watcher import KEPT_LINES, Line

_LEVELS = {"info": "all", "warning": "warnings", "error": "errors"}
_RANKS = list(_LEVELS)
_LEVEL_WORD = re.compile(r"\b(?:warning|error|failed)\b", re.IGNORECASE)
CLIPBOARD_BYTES = 74_994
"""What hterm and others take in one OSC 52 sequence."""

_CLOCK = re.compile(r"^\d\d:\d\d:\d\d")


class LogView(Vertical):
    """Follows the end of the log until the reader scrolls up."""

    ALLOW_MAXIMIZE = True
    HELP = """
## Log

It follows the newest line until you scroll up; `end` follows again. Switch between the *events* of the run and the
*output* of its processes (`worker.log`). Narrow the events down by level and stage, search with `/`, go from match to
match with `n` and `N`. `y` copies what you have selected with the mouse, else all lines that the filters and the search
leave; `Y` copies those in sight. `w` and `W` write them to a file instead, where copying does not get through.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", id="log.search", tooltip="Find text in the log"),
        Binding("n", "next(1)", "Next", id="log.next", tooltip="Go to the next match"),
        Binding("N", "next(-1)", "Previous", id="log.previous", tooltip="Go to the match before", show=False),
        Binding("escape", "close_search", "End search", id="log.close", tooltip="End the search"),
        # The border's title shows these, to be clicked.
        Binding("o", "output", "Output", False, id="log.output", tooltip="Events, or what the processes printed"),
        Binding("e", "level", "Level", False, id="log.level", tooltip="All, from warnings on, or errors alone"),
        Binding("g", "stage", "Stage", False, id="log.stage", tooltip="The lines of one stage, or all"),
        Binding("w", "save('all')", "Save", False, id="log.save", tooltip="Selection, or all that match, to a file"),
        Binding("W", "save('seen')", "Save page", False, id="log.save_page", tooltip="The lines in sight to a file"),
        Binding("y", "copy('all')", "Copy", False, id="log.copy", tooltip="Copy the selection, or all that match"),
        Binding("Y", "copy('seen')", "Copy page", False, id="log.copy_page", tooltip="Copy the lines in sight"),
        Binding("m", "maximize", "Maximise", False, id="log.maximise", tooltip="The whole screen, and back"),
    ]

    class Save(Message):
        """These lines are to be written to a file."""

        def __init__(self, source: str, text: str) -> None:
            super().__init__()
            self.source, self.text = source, text

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, list[Line]] = {"events": [], "output": []}
        self._source = "events"
        self._level = "info"
        self._stage = ""
        self._look = _Look()
        self._at = -1
        self._waiting: list[str] = []

    def compose(self) -> ComposeResult:
        yield _Lines(self._look)
        search = Input(placeholder="search the log", compact=True)
        search.display = False
        yield search

    def on_mount(self) -> None:
        self.watch(self.query_one(Log), "scroll_y", self._scrolled, init=False)
        self._say()

    def add(self, events: Sequence[Line], output: Sequence[Line]) -> None:
        """Append lines to both sources; they wait until the reader follows the end again, so that nothing moves."""
        for name, lines in (("events", events), ("output", output)):
            kept = self._kept[name]
            kept.extend(lines)
            del kept[:-KEPT_LINES]
        new = events if self._source == "events" else output
        if new:
            self._waiting += [line.text for line in new if self._passes(line)]
            del self._waiting[:-KEPT_LINES]
            if self.query_one(_Lines).follows:
                self._catch_up()
            self._say_place()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("level", "stage"):
            return self._source == "events"
        if action == "next":
            return bool(self._look.wanted)
        if action == "close_search":
            return self.query_one(Input).display or bool(self._look.wanted)
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
        self._look.wanted = ""
        self.query_one(Log).focus()
        self._say()

    def action_next(self, step: int) -> None:
        """Scroll to the next line with a match, around the end."""
        self._catch_up()
        log = self.query_one(Log)
        count = len(log.lines)
        wanted = self._look.wanted
        for n in range(1, count + 1):
            at = (self._at + step * n) % count
            if wanted in log.lines[at].casefold():
                self._at = at
                log.scroll_to(y=max(0, at - log.size.height // 2), animate=False)
                break
        self._say()

    def action_save(self, which: str) -> None:
        self.post_message(self.Save(self._source, "\n".join(self._picked(which)) + "\n"))

    def action_copy(self, which: str) -> None:
        lines = self._picked(which)
        text = "\n".join(lines)
        self.app.copy_to_clipboard(text)
        cut = " More than some terminals take." if len(text.encode()) > CLIPBOARD_BYTES else ""
        sent = f"{phrases.count(len(lines), 'line')} sent to your terminal's clipboard."
        self.notify(f"{sent}{cut} If nothing arrives, w saves a file.", markup=False)

    def _picked(self, which: str) -> list[str]:
        """The lines that are selected with the mouse, else those in sight, else all that the search leaves."""
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
    def _seek(self, event: Input.Changed) -> None:
        event.stop()
        self._look.wanted = event.value.casefold()
        self._at = -1
        self.query_one(Log).refresh()
        if event.value:
            self.action_next(-1)
        self._say()

    @on(Input.Submitted)
    def _found(self, event: Input.Submitted) -> None:
        event.stop()
        if not event.value:
            self.action_close_search()
        self.query_one(Log).focus()

    @on(DescendantFocus)
    @on(DescendantBlur)
    def _focus_changed(self) -> None:
        self._say()

    def _passes(self, line: Line) -> bool:
        if self._source == "output":
            return True
        enough = line.level not in _RANKS or _RANKS.index(line.level) >= _RANKS.index(self._level)
        return enough and self._stage in ("", line.stage)

    def _matches(self) -> list[str]:
        """All lines that the filters and the search leave."""
        lines = [*self.query_one(Log).lines, *self._waiting]
        return [line for line in lines if self._look.wanted in line.casefold()]

    def _scrolled(self) -> None:
        if self._waiting and self.query_one(_Lines).follows:
            self.call_later(self._catch_up)  # it scrolls, too, and one scrolling must end before the next
        self._say_place()

    def _catch_up(self) -> None:
        """Show the lines that came while the reader was elsewhere."""
        if self._waiting:
            lines, self._waiting = self._waiting, []
            self.query_one(_Lines).append(lines)

    def _refill(self) -> None:
        self._waiting.clear()
        log = self.query_one(Log)
        log.clear()
        log.write_lines([line.text for line in self._kept[self._source] if self._passes(line)])
        log.scroll_end(animate=False)
        self._at = -1
        self._say()

    def _say(self) -> None:
        """Source and filters in the border: what is shown, and what is left out."""
        said = ["[@click=output]events[/]" if self._source == "events" else "[@click=output]output[/]"]
        if self._source == "events":
            stage = re.sub(r"\W", " ", one_line(self._stage, 20)) or "all"
            said += [f"[@click=level]level: {_LEVELS[self._level]}[/]", f"[@click=stage]stage: {stage}[/]"]
        said += ["[@click=search]search[/]", "[@click=copy('all')]copy[/]", "[@click=save('all')]save[/]"]
        said += ["[@click=maximize]maximise[/]"]
        self.border_title = " · ".join(said)
        self._say_place()
        self.refresh_bindings()

    def _say_place(self) -> None:
        """At the lower border: how many lines match, or whether the end is followed."""
        log, wanted = self.query_one(Log), self._look.wanted
        if wanted:
            found = len(self._matches())
            place = f"{phrases.count(found, 'line')} match{'es' if found == 1 else ''}"
        else:
            place = "following" if log.is_vertical_scroll_end else "press end to follow"
        if self.border_subtitle != place:
            self.border_subtitle = place


class _Lines(Log):
    """Stays at the end, whatever its size, until the reader scrolls away from it."""

    def __init__(self, look: _Look) -> None:
        super().__init__(highlight=True, max_lines=KEPT_LINES)
        self.highlighter = look

    @property
    def follows(self) -> bool:
        return self._held or self.is_vertical_scroll_end

    @property
    def _held(self) -> bool:
        return not self._anchor_released  # Textual has no public word for it

    def on_mount(self) -> None:
        self.anchor()

    def append(self, lines: Sequence[str]) -> None:
        """Add lines at the end; what is being read stays in its place while the oldest lines go."""
        place, gone = self.scroll_y, len(self.lines) + len(lines) - KEPT_LINES
        self.write_lines(lines)
        if gone > 0:
            self.refresh()  # where as many lines go as come, Textual takes the end for drawn
            if not self.follows:
                self.scroll_to(y=max(0, place - gone), animate=False, immediate=True)

    def _update_size(self, updates: int, lines: list[str]) -> None:  # type: ignore[override]
        """Textual measures in a thread of its own, which holds the interpreter up far longer than this takes."""
        widths = (len(line) if line.isascii() else cell_len(line) for line in lines)
        self._update_maximum_width(updates, max(widths, default=0))

    def on_resize(self) -> None:
        if self._held:  # where it is now may be the end at a size on the way to this one
            self.scroll_end(animate=False, immediate=True, x_axis=False)


class _Look(Highlighter):
    """Dims the clock, marks trouble and what is searched for."""

    def __init__(self) -> None:
        self.wanted = ""

    def highlight(self, text: Text) -> None:
        if found := _CLOCK.match(text.plain):
            text.stylize("dim", *found.span())
        for found in _LEVEL_WORD.finditer(text.plain):
            text.stylize("bold", *found.span())
        start = text.plain.casefold().find(self.wanted) if self.wanted else -1
        while start >= 0:
            text.stylize("reverse", start, start + len(self.wanted))
            start = text.plain.casefold().find(self.wanted, start + len(self.wanted))
