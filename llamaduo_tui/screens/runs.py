"""Home: all runs, those that wait for an answer first."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Middle
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from engine.protocol.run_dir import Run
from engine.protocol.status import State
from llamaduo_tui import messages
from llamaduo_tui.views import phrases
from llamaduo_tui.views.run_list import FILTERS, ORDERS, Entry, ordered
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets import state_styles
from llamaduo_tui.widgets.diffed_static import DiffedStatic
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.keyed_list import KeyedList


class RunsScreen(Screen[None]):
    """The list of runs, which the app reads every few seconds."""

    AUTO_FOCUS = "OptionList"
    HELP = """
## Runs

A run moves one task from a cloud LLM to a small local model. Its worker continues when you close the app.

- **▶ running** · **‖ paused** · **○ starting**
- **◆ waits for you**: a decision, pairs to review, or its budget
- **✓ reached** or **✗ missed** its target: it has ended
- **■ stopping**: it waits for calls in flight, which are paid for; `x` again drops them
- **■ stopped**, **✗ failed** or **✗ crashed**: `r` resumes it
- **? no heartbeat**: its worker has not reported for a while

**space** marks runs, and **=** compares the marked ones: settings, scores, losses and answers side by side. `s` changes
the order, `f` which states are listed.

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
        Binding("escape", "close_search", "All runs", id="runs.all", tooltip="Close the search"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._entries: list[Entry] | None = None
        self._shown: list[Entry] = []
        self._drawn: list[Content] = []
        self._offered: object = None
        self._order = ORDERS[0]
        self._filter = "all"
        self._marked: list[Run] = []

    def compose(self) -> ComposeResult:
        yield DiffedStatic(id="head", markup=False)
        search = Input(placeholder="name or state", compact=True)
        search.display = False
        yield search
        yield DiffedStatic(id="columns", markup=False)
        yield KeyedList(markup=False)
        yield KeyBar()

    def show(self, entries: list[Entry]) -> None:
        """Show all runs as just read; only changes are drawn."""
        self._entries = entries
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def on_screen_resume(self) -> None:
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
                return isinstance(self.focused, OptionList) and state not in (None, State.UNREADABLE)
            case "compare":
                return len(self._marked) > 1
            case "close_search":
                return any(search.display for search in self.query(Input))
        return True

    @property
    def _chosen(self) -> Entry | None:
        at = next((listed.highlighted for listed in self.query(OptionList)), None)
        return self._shown[at] if at is not None and at < len(self._shown) else None

    def _draw(self) -> None:
        entries = self._entries
        if entries is None or not self.is_active or not self.query(OptionList):  # hidden, not composed, or going
            return
        wanted = self.query_one(Input).value.casefold()
        self._marked = [run for run in self._marked if any(entry.run == run for entry in entries)]
        listed = [e for e in entries if e.state in FILTERS[self._filter]]
        found = [e for e in listed if wanted in _sought(e).casefold()]
        found = ordered(found, self._order) if self._order is not ORDERS[0] else found
        self.set_class(not entries, "-empty")
        if not entries and not self.query("#welcome"):
            self._welcome()
        width = self.query_one(OptionList).scrollable_content_region.width or self.app.size.width - 2  # as it will be
        now = self.app.clock()  # type: ignore[attr-defined]
        names = max((cell_len(_name(e)) for e in found), default=0)
        self.query_one("#head", DiffedStatic).put(
            _head(entries, found, self._order.name, self._filter, len(self._marked))
        )
        self.query_one("#columns", DiffedStatic).put(_columns(width, names, bool(self._marked)))
        marks = dict.fromkeys(self._marked, "● ")
        blank = "  " if marks else ""
        self._fill(found, [_row(entry, now, width, names, marks.get(entry.run, blank)) for entry in found])
        self._offer()

    def _welcome(self) -> None:
        """Mounted where it is needed: most starts are with runs."""
        from llamaduo_tui.widgets.welcome import Welcome

        self.mount(Middle(Welcome(), id="welcome"), before=self.query_one(KeyBar))

    def _offer(self) -> None:
        """The footer's keys, where what the chosen run allows has changed."""
        offered = (
            len(self._marked) > 1,
            self._chosen and (self._chosen.state, self._chosen.mine),
            bool(self._entries),
            self.query_one(Input).display,
        )
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

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

    @on(Input.Changed)
    def _search_changed(self) -> None:
        self._draw()

    @on(Input.Submitted)
    def _search_done(self) -> None:
        self.query_one(OptionList).focus()

    def action_open(self) -> None:
        if (entry := self._chosen) is not None and entry.state not in (State.UNREADABLE, State.PRIVATE):
            self.post_message(messages.OpenRun(entry.run))

    def action_search(self) -> None:
        self.query_one(Input).display = True
        self.query_one(Input).focus()
        self._offer()

    def action_close_search(self) -> None:
        self.query_one(Input).clear()
        self.query_one(Input).display = False
        self.query_one(OptionList).focus()
        self._offer()

    def action_mark(self) -> None:
        """Mark the chosen run, or take its mark away, and go on to the next one."""
        if (entry := self._chosen) is None:
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
    return f"{entry.run.name} {state_styles.of(entry.state).word} {entry.model} {entry.service}"


def _head(entries: list[Entry], found: list[Entry], order: str, states: str, marked: int) -> Content:
    waiting = sum(entry.waits for entry in entries)
    working = sum(entry.state is State.RUNNING for entry in entries)
    runs = phrases.count(len(entries), "run")
    said = [f"{len(found)} of {runs}" if len(found) < len(entries) else runs]
    said += [f"{working} running"] if working else []
    said += [f"only {states}"] if states != "all" else []
    said += [f"by {order}"] if order != ORDERS[0].name else []
    said += [f"{marked} marked"] if marked else []
    asks = f" · ◆ {waiting} wait{'s' if waiting == 1 else ''} for you" if waiting else ""
    return Content.assemble(
        (" llamaduo ", "bold reverse"), "  ", " · ".join(said) if entries else "", (asks, "bold $text-warning")
    )


class _Cell(NamedTuple):
    """A cell of a row: its text, and its width."""

    content: str | Content
    width: int


def _name(entry: Entry) -> str:
    """The run's name, and whose it is where that is another user."""
    return one_line(f"{entry.run.name} ({entry.owner})" if entry.owner else entry.run.name, 60)


_USUAL = 18 + 18 + 11 + 9 + 7
"""Cells of the columns that are always there, besides the name."""

_MORE = {"SIMILARITY": 12, "MODEL": 21, "LEFT": 10, "PAIRS": 8, "TARGET": 10, "SERVICE": 16}
"""Columns that come as there is room, the most telling first, and their widths."""


def _columns(width: int, names: int, marks: bool) -> Content:
    heads = {name: name for name in _MORE} | {
        "MODEL": " MODEL",
        "LEFT": "     LEFT",
        "PAIRS": "  PAIRS",
        "TARGET": " TARGET",
    }
    return _line(("  " if marks else "") + "STATE", "RUN", "AT", "PRECISION", "    COST", "   AGE", heads, width, names)


def _row(entry: Entry, now: float, width: int, names: int, mark: str = "") -> Content:
    state = state_styles.of(entry.state)
    best = entry.best if entry.best is not None and entry.best < len(entry.precisions) else len(entry.precisions) - 1
    precision, similarity = (
        f"{means[best]:4.0f} {state_styles.trend(means, 5)}" if means and best < len(means) else "   –"
        for means in (entry.precisions, entry.similarities)
    )
    more = {
        "SIMILARITY": similarity,
        "MODEL": f" {one_line(entry.model.rsplit('/', 1)[-1], 40) or '–'}",
        "LEFT": f"{_left(entry, now):>9}",
        "PAIRS": f"{entry.pairs:>7,}" if entry.pairs else "      –",
        "TARGET": f" {_target(entry)}",
        "SERVICE": one_line(entry.service, 40) or "–",
    }
    cost = phrases.money(entry.cost_usd) if entry.cost_usd is not None else "unknown"
    cost, age = f"{cost:>8}", f"{phrases.age(now - entry.created):>6}"
    first = Content.assemble((mark, "bold $text-accent"), state.content) if mark else state.content
    return _line(first, _name(entry), _place(entry), precision, cost, age, more, width, names)


def _left(entry: Entry, now: float) -> str:
    """The work that is left, where that is known: "~2.1 h", while it is not known in full ">12 min"."""
    ahead = entry.outlook
    if ahead is None:
        return "–"
    gone = max(0.0, now - ahead.at) if entry.state is State.RUNNING else 0.0
    return f"{'>' if ahead.unknown else '~'}{phrases.brief(max(0.0, ahead.left_s.expected - gone))}"


def _target(entry: Entry) -> str:
    precision, similarity = entry.targets
    return "–" if precision is None or similarity is None else f"{precision:g}, {similarity:g}"


def _line(
    state: str | Content,
    name: str,
    place: str,
    precision: str,
    cost: str,
    age: str,
    more: dict[str, str],
    width: int,
    names: int,
) -> Content:
    """The columns: the name as wide as the longest, further ones as there is room."""
    room = max(12, min(names + 2, width - _USUAL - (_MORE["SIMILARITY"] if width >= 92 else 0)))
    left = width - _USUAL - room
    shown: list[str] = []
    for column, size in _MORE.items():
        if left < size:
            break
        left -= size
        shown.append(column)
    cells = [_Cell(state, 18), _Cell(name, room), _Cell(place, 18), _Cell(precision, 11)]
    cells += [_Cell(more[column], _MORE[column]) for column in shown if column == "SIMILARITY"]
    cells += [_Cell(cost, 9), _Cell(age, 7)]
    widths = _MORE | {"MODEL": _MORE["MODEL"] + min(20, left)}
    cells += [_Cell(more[column], widths[column]) for column in shown if column != "SIMILARITY"]
    parts = [cell.content if isinstance(cell.content, Content) else Content(cell.content) for cell in cells]
    return Content.assemble(
        *(
            part.truncate(cell.width - 1, ellipsis=True).pad_right(cell.width - min(part.cell_length, cell.width - 1))
            for part, cell in zip(parts, cells, strict=True)
        )
    )


def _place(entry: Entry) -> str:
    if entry.stage is not None or entry.state.working:
        number = f"round {entry.round} " if entry.round is not None else ""
        return f"{number}{one_line(entry.stage or '', 20)}".strip() or "–"
    return f"best: round {entry.best}" if entry.best is not None else "–"
