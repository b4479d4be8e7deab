"""A card that asks: what a waiting run needs to be told, with the keys that answer it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Button

from engine.protocol.run_dir import Run
from llamaduo_tui.widgets.diffed_static import Steady

LABEL = 11


class Card(Vertical):
    """Shown while its question is open; what it sends counts once, whoever else answers.

    With the class `-brief` it is two lines high, for screens that have other things to show.
    """

    DEFAULT_CSS = """
    Card {
        height: auto;
        border: heavy $warning;
        border-title-color: $text-warning;
        border-title-style: bold;
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
        self._asked: object = None
        self._sent = ""
        self._facts: Sequence[Fact] = ()
        self._brief = Content()
        self.display = False

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="facts"):
            yield Facts()
        yield Steady(classes="brief", markup=False)
        with Horizontal(classes="answers"):
            yield from self.answers()
            yield Button("Stop", classes="stop", compact=True, tooltip="Stop for now, and resume later")

    def answers(self) -> Sequence[Widget]:
        """What answers the question, but for stopping."""
        raise NotImplementedError

    @property
    def open(self) -> bool:
        """Whether it asks and has not been answered here."""
        return self.display and not self._sent

    def approve(self) -> None:
        """Pay, as far as the card says."""
        raise NotImplementedError

    def reopen(self) -> None:
        """What was sent did not get through: ask again."""
        self._sent = ""
        self._draw()
        self.screen.refresh_bindings()

    def ask(self, question: object) -> bool:
        """Show the card while there is a question, None for none; True for another one than before."""
        self.display = question is not None
        if question is None or question == self._asked:
            return False
        self._asked, self._sent = question, ""
        self.query_one(".stop", Button).label = self.keyed("stop", "Stop")
        return True

    def keyed(self, action: str, said: str) -> str:
        """A button's text, with the key that does the same as the user has bound it."""
        bound = (active.binding for active in self.screen.active_bindings.values())
        key = next((self.app.get_key_display(binding) for binding in bound if binding.action == action), "")
        return f"{key} {said}".lstrip()

    def say(self, facts: Sequence[Fact], brief: Content) -> None:
        """What there is to know, line by line and on one line."""
        self._facts, self._brief = facts, brief
        self._draw()

    def send(self, message: Message, said: str) -> None:
        """Answer; the card says so and asks no more."""
        self._sent = said
        self.post_message(message)
        self._draw()
        self.screen.refresh_bindings()

    def _draw(self) -> None:
        sent = Content.styled(self._sent, "bold")
        self.query_one(Facts).show([*self._facts, *([Fact("answer", sent)] if self._sent else [])])
        self.query_one(".brief", Steady).put(sent if self._sent else self._brief)
        self.query_one(".answers").display = not self._sent


class Fact(NamedTuple):
    """A line of a card: what it is about, and what there is to say."""

    name: str
    said: Content


def fact(name: str, *said: str | Content | tuple[str, str]) -> Fact:
    """A fact, put together from plain and styled text."""
    return Fact(name, Content.assemble(*said))


class Facts(Steady):
    """Facts below one another, wrapped beside their names."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._facts: Sequence[Fact] = ()

    def show(self, facts: Sequence[Fact]) -> None:
        self._facts = facts
        self._lay_out()

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        room = self.content_size.width - LABEL
        if room > 0:
            self.put(Content("\n").join(line for fact in self._facts for line in _lines(fact, room)))


def _lines(fact: Fact, room: int) -> Iterator[Content]:
    for number, line in enumerate(fact.said.wrap(room)):
        yield Content.assemble((f"{'' if number else fact.name:<{LABEL}}", "bold"), line.rstrip())
