"""A screen that reads a run's pairs, all of it in threads; what was found arrives as messages."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from textual import on, work
from textual.message import Message
from textual.worker import Worker, WorkerState, get_current_worker

from engine.protocol import commands
from engine.protocol.commands import PairChoice, PairChoices
from engine.protocol.errors import LlamaDuoError
from engine.protocol.run_dir import Run
from llamaduo_tui import messages
from llamaduo_tui.screens.question import QuestionScreen
from llamaduo_tui.views import pairs
from llamaduo_tui.views.pairs import Item, Pairs, Part, Round, Source, Tally, Wanted
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets.pair_view import PairView

LOOK_S = 0.5
"""Seconds between two looks at the run's folder."""


@dataclass
class Looked(Message):
    """What a look at the run's folder found; None where nothing is new."""

    choices: PairChoices | None
    sources: list[Source]
    sealed: int | None


@dataclass
class Read(Message):
    """A file of pairs was read, or its beginning."""

    part: Part


@dataclass
class Found(Message):
    """Where a search found its text."""

    text: str
    round: Round
    found: frozenset[tuple[Path, int]]


@dataclass
class Arranged(Message):
    """The list for what is wanted."""

    wanted: Wanted
    items: list[Item]
    tally: Tally


@dataclass
class Chosen(Message):
    """A person's choices are written."""

    choices: PairChoices


class ReadingScreen(QuestionScreen):
    """Holds what is read so far, and looks again as long as it is there."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.pairs = Pairs(run)
        self.choices: PairChoices = {}
        self.sources: list[Source] = []
        self.sealed: int | None = None
        self.parts_read: dict[Source, Part] = {}
        self._left = threading.Event()

    def on_unmount(self) -> None:
        self._left.set()

    @property
    def parts(self) -> list[Part]:
        """What is read so far, in the order of the sources."""
        return [self.parts_read[source] for source in self.sources if source in self.parts_read]

    @work(thread=True, group="data-look", exit_on_error=False)
    def read_pairs(self) -> None:
        """Look at the run's folder again and again; what cannot be read is told once."""
        told = ""
        while not self._left.is_set():
            try:
                choices = self.pairs.choices()
                self.post_message(Looked(choices, self.pairs.sources(), self.pairs.sealed()))
                for part in self.pairs.look():
                    self.post_message(Read(part))
                    if self._left.is_set():
                        return
            except (LlamaDuoError, OSError, ValueError, TypeError, KeyError) as error:
                if str(error) != told:
                    told = str(error)
                    self.post_message(messages.ReadFailed(told))
            self._left.wait(LOOK_S)

    # Without a description, Textual makes one of the arguments: a line of all the pairs.
    @work(thread=True, group="data-arrange", exclusive=True, exit_on_error=False, description="arrange")
    def list_pairs(self, parts: Sequence[Part], wanted: Wanted, choices: PairChoices, look: int | None) -> None:
        """Make the list for what is wanted, and count the round `look` that waits to be looked at."""
        items = pairs.arrange(parts, wanted, choices)
        counts = pairs.tally(parts, look, choices) if look is not None else Tally()
        if not get_current_worker().is_cancelled:
            self.post_message(Arranged(wanted, items, counts))

    @work(thread=True, group="data-search", exclusive=True, exit_on_error=False)
    def search_pairs(self, sources: list[Source], round_: Round, text: str) -> None:
        """Find a text in the rows of a round."""
        worker = get_current_worker()
        found = pairs.search(sources, text, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.post_message(Found(text, round_, found))

    @work(thread=True, group="data-choose", exit_on_error=False, description="choose")
    def choose_pairs(self, items: Sequence[Item], keep: bool) -> None:
        """Write down that a person keeps or refuses these pairs."""
        rounds: dict[int, list[str]] = {}
        for item in items:
            if item.source.round is not None:
                rounds.setdefault(item.source.round, []).append(item.id)
        for round_, ids in rounds.items():
            commands.send(self.run.commands_file, PairChoice(round=round_, pairs=ids, keep=keep))
        self.post_message(Chosen(commands.pair_choices(self.run.commands_file)))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self._failed(PairView.Failed(event.worker.error))

    @on(PairView.Failed)
    def _failed(self, message: PairView.Failed) -> None:
        error = message.error
        title, said = (error.message, error.hint) if isinstance(error, LlamaDuoError) else ("That failed", str(error))
        self.notify(one_line(said), title=one_line(title), severity="error", markup=False)
