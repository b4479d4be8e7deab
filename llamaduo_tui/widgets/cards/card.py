"""A card shows the open question of a run, with the keys that answer it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Button

from engine.protocol.events import QuestionAsked
from engine.protocol.questions import APPROVE, REJECT, Question
from engine.protocol.run_dir import Run
from engine.settings.schema import Target
from llamaduo_tui.messages import AnswerRun, StopRun
from llamaduo_tui.views.questions import wording
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets.diffed_static import DiffedStatic
from llamaduo_tui.widgets.facts import Fact, Facts, fact
from llamaduo_tui.widgets.keyed_scroll import KeyedScroll
from llamaduo_tui.widgets.lines import EDGES, fitting


class Card(Vertical):
    """Shown while the question of its kind is open; the first answer counts, from whatever terminal it comes.

    This class asks questions of any kind, by their reason. It leads with the facts that decide; the others are a key
    away, and the class `-all` shows them.
    """

    kind: ClassVar[str] = ""
    """The kind of question that it asks; "" for every kind without its own card."""

    HELP = """
## Question

The run waits for your answer: **Approve** or **Reject**, where it can be rejected. **Stop** ends the worker for now.
"""

    DEFAULT_CSS = """
    Card {
        height: auto;
        border: heavy $warning;
        border-title-color: $text-warning;
        border-title-style: bold;
        border-subtitle-color: $text-muted;
        padding: 0 1;

        .facts {
            height: auto;
            max-height: 14;
            scrollbar-size-vertical: 1;
        }

        Facts {
            width: 100%;
        }

        .brief {
            display: none;
            height: auto;
        }

        .answers {
            height: 1;
        }

        .amount-label {
            width: auto;
            text-style: bold;
        }

        .amount {
            width: 10;
            margin: 0 2 0 1;
            background: $boost;
            text-style: underline;
        }

        Button {
            margin-right: 2;
            min-width: 8;
        }
    }
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self._shown: QuestionAsked | None = None
        self._sent = ""
        self._facts: Sequence[Fact] = ()
        self._more: Sequence[Fact] = ()
        self._brief = Content()
        self.display = False

    def compose(self) -> ComposeResult:
        with KeyedScroll(classes="facts"):
            yield Facts()
        yield DiffedStatic(classes="brief", markup=False)
        with Horizontal(classes="answers"):
            yield from self.answers()
            yield Button("Stop", classes="stop", compact=True, tooltip="Stop the worker; you can resume later")

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        """Cut no word at the edge; leave the button that stops out where it would be cut: its key does the same."""
        row, stop = self.query_one(".answers"), self.query_one(".stop", Button)
        others = [one.virtual_region_with_margin.right for one in row.children if one.display and one is not stop]
        self.border_subtitle = self._hint()
        stop.display = max(others, default=0) + cell_len(str(stop.label)) + 2 <= (row.size.width or self.size.width)

    def answers(self) -> Sequence[Widget]:
        """The inputs and buttons that answer the question, but for stopping."""
        return [
            Button("Approve", id="approve", variant="warning", compact=True, tooltip="Let the run go on"),
            Button("Reject", id="reject", compact=True, tooltip="Answer no"),
        ]

    def show(self, asked: QuestionAsked | None, view: RunView, target: Target | None) -> None:
        """The open question of this card's kind, or nothing."""
        fresh = asked is not None and (self._shown is None or asked.seq != self._shown.seq)
        self.display = asked is not None
        self._shown = asked
        if asked is None:
            return
        if fresh:
            self._sent = ""
            self.remove_class("-all")
            self.query_one(".stop", Button).label = self.keyed("stop", "Stop")
            self.prepare(asked.question, view)
        self.fill(asked.question, view, target)

    @property
    def question(self) -> Question | None:
        """The question that is shown."""
        return self._shown.question if self._shown is not None else None

    def prepare(self, question: Question, view: RunView) -> None:
        """Set up inputs and buttons for a question that has just come."""
        approve = self.query_one("#approve", Button)
        approve.display = APPROVE in question.choices
        approve.label = self.keyed("approve", "Approve")
        reject = self.query_one("#reject", Button)
        reject.display = REJECT in question.choices
        reject.label = self.keyed("reject", "Reject")

    def fill(self, question: Question, view: RunView, target: Target | None) -> None:
        """Show the facts that the answer depends on."""
        self.border_title = f"the run waits for {wording(question.kind).waits_for}"
        reason = one_line(question.reason, 400)
        self.say([fact("question", reason)], Content(reason))

    @property
    def open(self) -> bool:
        """Whether its question is open and was not answered here."""
        return self.display and not self._sent

    def approve(self) -> None:
        """Answer with yes, where the question takes that and no input is wrong."""
        if self.open and self.question is not None and APPROVE in self.question.choices:
            self.send(AnswerRun(self.run, APPROVE), "approval sent …")

    def reject(self) -> None:
        """Answer with no, where the question takes that."""
        if self.open and self.question is not None and REJECT in self.question.choices:
            self.send(AnswerRun(self.run, REJECT), "rejection sent …")

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "approve":
                self.approve()
            case "reject":
                self.reject()
            case _:
                self.post_message(StopRun(self.run))

    def reopen(self) -> None:
        """Ask again: the answer did not arrive."""
        self._sent = ""
        self._draw()
        self.screen.refresh_bindings()

    def keyed(self, action: str, text: str) -> str:
        """A button's text with the key that does the same, as bound by the user."""
        return keyed(self.screen, action, text)

    def key(self, action: str) -> str:
        """The key of an action, as bound by the user; "" where it has none."""
        return self.keyed(action, "").strip()

    def say(self, facts: Sequence[Fact], brief: Content, more: Sequence[Fact] = ()) -> None:
        """Show the facts line by line, and the gist on one line; `more` are those that a key shows."""
        self._facts, self._brief, self._more = facts, brief, more
        self._draw()

    @property
    def has_more(self) -> bool:
        """Whether there are facts that are not shown until the reader asks for them."""
        return self.open and bool(self._more) and self.query_one(".facts").display

    def toggle_more(self) -> None:
        """Show all facts, or only those that decide."""
        self.toggle_class("-all")
        self._draw()

    def send(self, message: Message, said: str) -> None:
        """Answer; the card shows that and takes no further answer."""
        self._sent = said
        self.post_message(message)
        self._draw()
        self.screen.refresh_bindings()

    def _draw(self) -> None:
        sent = Content.styled(self._sent, "bold")
        every = [*self._facts, *(self._more if self.has_class("-all") else ())]
        self.query_one(Facts).show([*every, *([Fact("answer", sent)] if self._sent else [])])
        self.border_subtitle = self._hint()
        self.query_one(".brief", DiffedStatic).put(sent if self._sent else self._brief)
        self.query_one(".answers").display = not self._sent

    def _hint(self) -> Content:
        return more_hint(self, self._more) if self.has_more else Content()


def keyed(screen: Screen[Any], action: str, text: str) -> str:
    """A text with the key of an action in front of it, as bound by the user."""
    bound = (active.binding for active in screen.active_bindings.values())
    key = next((screen.app.get_key_display(binding) for binding in bound if binding.action == action), "")
    return f"{key} {text}".lstrip()


def more_hint(card: Widget, facts: Sequence[Fact]) -> Content:
    """What the key for more shows, as far as it fits the border: "E changes, weakest, …"."""
    names = ["fewer facts"] if card.has_class("-all") else list(dict.fromkeys(one.name for one in facts))
    room = card.outer_size.width - EDGES - cell_len(keyed(card.screen, "more", ""))
    shown = names[: fitting(names, ", ", room)] if room > 0 else names
    return Content(keyed(card.screen, "more", ", ".join([*shown, *(["…"] if len(shown) < len(names) else [])])))
