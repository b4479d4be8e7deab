"""Loads a run's pairs for a screen: everything that reads or writes files runs in threads and reports by messages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from textual.message import Message
from textual.screen import Screen
from textual.worker import get_current_worker

from engine.protocol import commands
from engine.protocol.commands import PairChoice, PairChoices
from engine.protocol.errors import LlamaDuoError
from engine.protocol.person import person
from engine.protocol.run_dir import Run
from llamaduo_tui import messages
from llamaduo_tui.views import pairs
from llamaduo_tui.views.pairs import LoadedFile, PairEntry, PairFile, PairFilter, PairReader, RoundFilter, Tally

POLL_S = 0.5
"""Seconds between two reads of the run's folder."""


@dataclass
class Polled(Message):
    """The run's folder as it is now; `choices` is None where they are as before."""

    choices: PairChoices | None
    files: list[PairFile]
    sealed: int | None


@dataclass
class FileLoaded(Message):
    """A file of pairs was read, or its beginning."""

    loaded: LoadedFile


@dataclass
class SearchDone(Message):
    """Where a search found its text."""

    text: str
    round: RoundFilter
    matches: frozenset[tuple[Path, int]]


@dataclass
class Arranged(Message):
    """The list for a filter, and the count of the round that waits for review."""

    filter: PairFilter
    entries: list[PairEntry]
    tally: Tally


@dataclass
class ChoicesSaved(Message):
    """A person's choices are written."""

    choices: PairChoices


class PairsLoader:
    """Starts the threads of a screen and posts their results to it; `close` ends the one that polls."""

    def __init__(self, screen: Screen[None], run: Run) -> None:
        self.reader = PairReader(run)
        self._screen = screen
        self._run = run
        self._closed = threading.Event()

    def close(self) -> None:
        """Stop polling."""
        self._closed.set()

    def poll(self) -> None:
        """Read the run's folder again and again: `Polled`, and `FileLoaded` for each file that is new."""
        self._start(self._poll, "data-poll")

    def arrange(
        self, files: Sequence[LoadedFile], wanted: PairFilter, choices: PairChoices, waiting: int | None
    ) -> None:
        """Make the list for a filter, and count the round that waits for review: `Arranged`."""
        self._start(partial(self._arrange, files, wanted, choices, waiting), "data-arrange", exclusive=True)

    def search(self, files: Sequence[PairFile], round_: RoundFilter, text: str) -> None:
        """Find a text in the rows of a round: `SearchDone`."""
        self._start(partial(self._search, files, round_, text), "data-search", exclusive=True)

    def end_search(self) -> None:
        """Stop a search that is still running."""
        self._screen.workers.cancel_group(self._screen, "data-search")

    def choose(self, entries: Sequence[PairEntry], keep: bool) -> None:
        """Record that a person keeps or refuses these pairs: `ChoicesSaved`."""
        self._start(partial(self._choose, entries, keep), "data-choose")

    def _start(self, work: Callable[[], None], group: str, exclusive: bool = False) -> None:
        self._screen.run_worker(work, group=group, exclusive=exclusive, thread=True, exit_on_error=False)

    def _poll(self) -> None:
        reported = ""
        while not self._closed.is_set():
            try:
                choices = self.reader.new_choices()
                self._screen.post_message(Polled(choices, self.reader.files(), self.reader.sealed()))
                for loaded in self.reader.read_new():
                    self._screen.post_message(FileLoaded(loaded))
                    if self._closed.is_set():
                        return
            except (LlamaDuoError, OSError, ValueError, TypeError, KeyError) as error:
                if str(error) != reported:
                    reported = str(error)
                    self._screen.post_message(messages.ReadFailed(reported))
            self._closed.wait(POLL_S)

    def _arrange(
        self, files: Sequence[LoadedFile], wanted: PairFilter, choices: PairChoices, waiting: int | None
    ) -> None:
        entries = pairs.arrange(files, wanted, choices)
        counts = pairs.tally(files, waiting, choices) if waiting is not None else Tally()
        if not get_current_worker().is_cancelled:
            self._screen.post_message(Arranged(wanted, entries, counts))

    def _search(self, files: Sequence[PairFile], round_: RoundFilter, text: str) -> None:
        worker = get_current_worker()
        matches = pairs.search(files, text, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self._screen.post_message(SearchDone(text, round_, matches))

    def _choose(self, entries: Sequence[PairEntry], keep: bool) -> None:
        rounds: dict[int, list[str]] = {}
        for entry in entries:
            if entry.file.round is not None:
                rounds.setdefault(entry.file.round, []).append(entry.id)
        for round_, ids in rounds.items():
            commands.send(self._run.commands_file, PairChoice(round=round_, pairs=ids, keep=keep, by=person()))
        self._screen.post_message(ChoicesSaved(commands.pair_choices(self._run.commands_file)))
