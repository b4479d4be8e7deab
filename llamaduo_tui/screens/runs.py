"""Home: all runs, those that wait for an answer first."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Middle
from textual.content import Content
from textual.screen import Screen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from engine.protocol.run_dir import Run
from engine.protocol.status import State
from llamaduo_tui import messages
from llamaduo_tui.views.run_list import FILTERS, ORDERS, Entry, ordered
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets import run_rows, state_styles
from llamaduo_tui.widgets.diffed_static import DiffedStatic
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.keyed_list import KeyedList

if TYPE_CHECKING:
    from llamaduo_tui.widgets.line_input import LineInput


class RunsScreen(Screen[None]):
    """The list of runs, which the app reads every few seconds."""

    AUTO_FOCUS = "OptionList"
    HORIZONTAL_BREAKPOINTS = [(0, "-usual"), (160, "-vast")]  # noqa: RUF012 - as Textual declares it
    HELP = """
## Runs

A run moves one task from a cloud LLM to a small local model. Its worker continues when you close the app.

- **▶ running** · **‖ paused** · **○ starting**
- **◆ waits for you**: a decision, pairs to review, or its budget
- **✓ reached** or **✗ missed** its target: it has ended
- **■ stopping**: it waits for calls in flight, which are paid for; `x` again drops them
- **■ stopped**, **✗ failed** or **✗ crashed**: `r` resumes it
- **? no heartbeat**: its worker has not reported for a while

**space** marks runs, and **=** compares the marked ones: settings, scores, losses and answers side by side. With no
runs marked, **=** compares the rounds of the chosen one. `s` changes the order, `f` which states are listed.

The scores are those of the best round, from 1 to 100, with the trend over all rounds.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", id="runs.open", tooltip="Open the run", priority=True),
        Binding("n", "new", "New", id="runs.new", tooltip="Set up your own migration"),
        Binding(
            "r", "resume", "Resume", id="runs.resume", tooltip="Continue after a pause, a stop, a failure or a crash"
        ),
        Binding("x", "stop", "Stop", id="runs.stop", tooltip="Stop the worker; you can resume later"),
        Binding("slash", "search", "Search", id="runs.search", tooltip="Find runs by name or state"),
        Binding("s", "order", "Order", id="runs.order", tooltip="Order by age, score, cost or pairs"),
        Binding("f", "filter", "Filter", id="runs.filter", tooltip="List all runs, or those in some states"),
        Binding(
            "c",
            "duplicate",
            "Duplicate",
            id="runs.duplicate",
            tooltip="A new migration with the same settings",
        ),
        Binding("d", "demo", "Demo", id="runs.demo", tooltip="See the whole loop: no key, no GPU, no downloads"),
        Binding("delete,backspace", "delete", "Delete", id="runs.delete", tooltip="Delete the run with all its files"),
        Binding("space", "mark", "Mark", id="runs.mark", tooltip="Mark the run, to compare it with others"),
        Binding("equals_sign,C", "compare", "Compare", id="runs.compare", tooltip="Compare the marked runs"),
        Binding("equals_sign,C", "rounds", "Compare rounds", id="runs.rounds", tooltip="Compare the run's rounds"),
        Binding("escape", "close_search", "All runs", id="runs.all", tooltip="Close the search"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._entries: list[Entry] | None = None
        self._due = False
        self._shown: list[Entry] = []
        self._drawn: list[Content] = []
        self._offered: object = None
        self._order = ORDERS[0]
        self._filter = "all"
        self._marked: list[Run] = []
        self._search: LineInput | None = None

    def compose(self) -> ComposeResult:
        yield DiffedStatic(id="head", markup=False)
        yield DiffedStatic(id="columns", markup=False)
        yield KeyedList(markup=False)
        yield DiffedStatic(id="chosen", markup=False)
        yield KeyBar()

    def show(self, entries: list[Entry]) -> None:
        """Show all runs as just read; only changes are drawn."""
        self._entries, self._due = entries, True
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def on_screen_resume(self) -> None:
        """Draw what was read while another screen stood above."""
        if self._due:
            self._draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        entry = self._chosen
        state = entry.state if entry is not None else None
        match action:
            case "open":
                listed = isinstance(self.focused, OptionList)
                return listed and state not in (None, State.UNREADABLE, State.PRIVATE)
            case "resume" | "stop" | "duplicate" | "delete" if entry is not None and not entry.mine:
                return False
            case "resume":
                return state is State.PAUSED or (state is not None and state.resumable)
            case "stop":
                return state is not None and state.working
            case "duplicate":
                return entry is not None
            case "delete":
                return state is not None and not state.working
            case "search" | "order" | "filter":
                return bool(self._entries)
            case "mark":
                hidden = (None, State.UNREADABLE, State.PRIVATE)
                return (
                    isinstance(self.focused, OptionList) and state not in hidden and entry is not None and entry.whole
                )
            case "compare":
                return len(self._marked) > 1
            case "rounds":
                readable = entry is not None and entry.whole and len(entry.scores) > 1
                return isinstance(self.focused, OptionList) and len(self._marked) < 2 and readable
            case "close_search":
                return self._searching
        return True

    @property
    def _chosen(self) -> Entry | None:
        at = next((listed.highlighted for listed in self.query(OptionList)), None)
        return self._shown[at] if at is not None and at < len(self._shown) else None

    def _draw(self) -> None:
        entries = self._entries
        if entries is None or not self.is_active or not self.query(OptionList):  # hidden, not composed, or going
            return
        self._due = False
        wanted = self._search.value.casefold() if self._search is not None else ""
        self._marked = [run for run in self._marked if any(entry.run == run for entry in entries)]
        listed = [e for e in entries if e.state in FILTERS[self._filter]]
        found = [e for e in listed if wanted in _sought(e).casefold()]
        found = ordered(found, self._order) if self._order is not ORDERS[0] else found
        self.set_class(not entries, "-empty")
        if not entries and not self.query("#welcome"):
            self._welcome()
        width = self.query_one(OptionList).scrollable_content_region.width or self.app.size.width - 2  # as it will be
        now = self.app.clock()  # type: ignore[attr-defined]
        names = max((cell_len(run_rows.name(e)) for e in found), default=0)
        self.query_one("#head", DiffedStatic).put(
            run_rows.head(entries, found, self._order.name, self._filter, len(self._marked))
        )
        sizes = run_rows.sizes(width, names)
        self.query_one("#columns", DiffedStatic).put(run_rows.columns(sizes, bool(self._marked)))
        marks = dict.fromkeys(self._marked, "● ")
        blank = "  " if marks else ""
        self._fill(found, [run_rows.row(entry, now, sizes, marks.get(entry.run, blank)) for entry in found])
        self._offer()

    def _welcome(self) -> None:
        """Mounted where it is needed: most starts are with runs."""
        from llamaduo_tui.widgets.welcome import Welcome

        self.mount(Middle(Welcome(), id="welcome"), before=self.query_one(KeyBar))

    def _offer(self) -> None:
        """The footer's keys, where what the chosen run allows has changed; next to a wide list, more about that run."""
        self._tell()
        offered = (
            len(self._marked) > 1,
            self._chosen and (self._chosen.state, self._chosen.mine, self._chosen.whole),
            bool(self._entries),
            self._searching,
        )
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def _tell(self) -> None:
        box, entry = self.query_one("#chosen", DiffedStatic), self._chosen
        box.display = entry is not None and self.has_class("-vast")
        if entry is not None and box.display:
            from llamaduo_tui.widgets import run_brief

            now = self.app.clock()  # type: ignore[attr-defined]
            box.border_title = Content(one_line(entry.run.name, 60))
            box.put(Content("\n").join(run_brief.lines(entry, now, box.content_size.width or run_brief.WIDTH)))

    def _fill(self, entries: list[Entry], rows: list[Content]) -> None:
        """Replace the rows that have changed; where the runs are others, all of them, keeping the chosen one."""
        listed, chosen = self.query_one(OptionList), self._chosen
        same = [e.run for e in entries] == [e.run for e in self._shown]
        before, self._shown = self._drawn, entries
        self._drawn = rows
        if same:
            for at, (old, new) in enumerate(zip(before, rows, strict=True)):
                if not old.is_same(new):
                    listed.replace_option_prompt_at_index(at, new)
            return
        none = Option(Content.styled("No run matches.", "$foreground-muted"), disabled=True)
        listed.set_options([Option(row) for row in rows] or [none])
        runs = [entry.run for entry in entries]
        if rows:
            listed.highlighted = runs.index(chosen.run) if chosen is not None and chosen.run in runs else 0

    @on(OptionList.OptionSelected)
    def _selected(self) -> None:
        self.action_open()

    @on(OptionList.OptionHighlighted)
    def _highlighted(self) -> None:
        self._offer()

    def on_input_changed(self) -> None:
        self._draw()

    def on_input_submitted(self) -> None:
        self.query_one(OptionList).focus()

    def action_open(self) -> None:
        if (entry := self._chosen) is not None and entry.state not in (State.UNREADABLE, State.PRIVATE):
            self.post_message(messages.OpenRun(entry.run))

    @property
    def _searching(self) -> bool:
        return self._search is not None and self._search.display

    def action_search(self) -> None:
        """Show the field of the search, which is made when it is first wanted: most starts do without it."""
        if self._search is None:
            from llamaduo_tui.widgets.line_input import LineInput

            self._search = LineInput(placeholder="name or state", compact=True)
            self.mount(self._search, before="#columns")
        self._search.display = True
        self._search.focus()
        self._offer()

    def action_close_search(self) -> None:
        if self._search is not None:
            self._search.clear()
            self._search.display = False
        self.query_one(OptionList).focus()
        self._offer()

    def action_mark(self) -> None:
        """Mark the chosen run, or take its mark away, and go on to the next one."""
        if (entry := self._chosen) is None or not self.check_action("mark", ()):
            return
        if entry.run in self._marked:
            self._marked.remove(entry.run)
        else:
            self._marked.append(entry.run)
        self._draw()
        self.query_one(OptionList).action_cursor_down()

    def action_compare(self) -> None:
        if len(self._marked) > 1:
            self.post_message(messages.CompareRuns(list(self._marked)))

    def action_rounds(self) -> None:
        if (entry := self._chosen) is not None:
            self.post_message(messages.CompareRuns([entry.run], rounds=len(entry.scores)))

    def action_order(self) -> None:
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self._draw()

    def action_filter(self) -> None:
        names = list(FILTERS)
        self._filter = names[(names.index(self._filter) + 1) % len(names)]
        self._draw()

    def action_new(self) -> None:
        self.post_message(messages.Configure())

    def action_duplicate(self) -> None:
        if (entry := self._chosen) is not None:
            self.post_message(messages.Configure(like=entry.run))

    def action_demo(self) -> None:
        self.post_message(messages.StartDemo())

    def action_resume(self) -> None:
        if (entry := self._chosen) is not None:
            paused = entry.state is State.PAUSED
            self.post_message(messages.PauseRun(entry.run, on=False) if paused else messages.ResumeRun(entry.run))

    def action_stop(self) -> None:
        self._ask(messages.StopRun)

    def action_delete(self) -> None:
        self._ask(messages.DeleteRun)

    def _ask(self, message: type[messages.StopRun] | type[messages.DeleteRun]) -> None:
        if (entry := self._chosen) is not None:
            self.post_message(message(entry.run))


def _sought(entry: Entry) -> str:
    """What the search looks through."""
    word = state_styles.of(entry.state, entry.mine).word
    return f"{run_rows.name(entry)} {word} {entry.model} {entry.service}"
