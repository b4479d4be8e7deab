"""Loads a run's responses and verdicts for a screen: in threads, with messages as their results."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from textual.message import Message
from textual.screen import Screen
from textual.worker import get_current_worker

from engine.protocol import commands
from engine.protocol.commands import RecordedLabels
from engine.protocol.run_dir import Run
from llamaduo_tui.views import bookmarks
from llamaduo_tui.views.annotation import Said
from llamaduo_tui.views.bookmarks import Bookmark
from llamaduo_tui.views.jsonl_index import gc_paused
from llamaduo_tui.views.review import LoadedRound, Review, RoundNumber

SAVE_GROUP = "review-label"
"""The group of the threads that save labels and bookmarks: where one fails, they must not look saved."""


@dataclass
class RoundLoaded(Message):
    """A round was read, or the one before it, which its changes are against."""

    round: LoadedRound
    rounds: list[RoundNumber]
    labels: RecordedLabels
    bookmarks: set[str]
    stamp: tuple[tuple[int, int], ...]


@dataclass
class LabelsSaved(Message):
    """Reviews are written; they end at this byte of the run's commands."""

    said: Said
    end: int


@dataclass
class NoResponses(Message):
    """The run has no responses yet."""


@dataclass
class SearchDone(Message):
    """The prompts that a search found."""

    text: str
    ids: set[str]


@dataclass
class FilesChanged(Message):
    """The worker wrote more responses or verdicts."""


class ReviewLoader:
    """Starts the threads of a screen and posts their results to it."""

    def __init__(self, screen: Screen[None], run: Run) -> None:
        self.review = Review(run)
        self._screen = screen
        self._run = run
        self._unsaved: deque[Said] = deque()
        self._saving = threading.Lock()

    def open(self, number: RoundNumber) -> None:
        """Read a round and those before it, for the changes: `RoundLoaded`."""
        self._start(partial(self._open, number), "review-open")

    def open_newest(self) -> None:
        """Read the newest round with verdicts: `RoundLoaded`, or `NoResponses`."""
        self._start(self._open_newest, "review-open")

    def search(self, number: RoundNumber, text: str) -> None:
        """Find a text in a round: `SearchDone`."""
        self._start(partial(self._search, number, text), "review-search")

    def end_search(self) -> None:
        """Stop a search that is still running."""
        self._screen.workers.cancel_group(self._screen, "review-search")

    def poll(self, known: tuple[tuple[int, int], ...]) -> None:
        """`FilesChanged` if the stamp of the files is no longer the known one."""
        self._start(partial(self._poll, known), "review-poll")

    def save(self, said: Said) -> None:
        """Append reviews to the run's commands, in the order of the calls: `LabelsSaved`."""
        self._unsaved.append(said)
        self._start(self._save, SAVE_GROUP, exclusive=False)

    def save_bookmark(self, bookmark: Bookmark) -> None:
        """Record that a bookmark is set or removed."""
        self._start(partial(self._save_bookmark, bookmark), SAVE_GROUP, exclusive=False)

    def _start(self, work: Callable[[], None], group: str, exclusive: bool = True) -> None:
        self._screen.run_worker(work, group=group, exclusive=exclusive, thread=True, exit_on_error=False)

    def _open_newest(self) -> None:
        rounds = self.review.rounds()
        if not rounds:
            self._screen.post_message(NoResponses())
            return
        numbers = [number for number in reversed(rounds) if number is not None]
        # A round that is still running has no verdicts yet.
        self._open(next((number for number in numbers if self.review.judged(number)), numbers[0] if numbers else None))

    def _open(self, number: RoundNumber) -> None:
        review, worker = self.review, get_current_worker()
        stamp, rounds, labels = review.stamp(), review.rounds(), review.labels()
        marked = bookmarks.read(self._run)
        with gc_paused():
            opened = review.load(number)
        self._screen.post_message(RoundLoaded(opened, rounds, labels, marked, stamp))
        earlier = [other for other in rounds if other is not None and number is not None and other < number]
        for other in reversed(earlier):
            if worker.is_cancelled:
                return
            with gc_paused():
                review.load(other)
            self._screen.post_message(RoundLoaded(review.load(number), rounds, labels, marked, stamp))

    def _search(self, number: RoundNumber, text: str) -> None:
        worker = get_current_worker()
        ids = self.review.search(number, text, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self._screen.post_message(SearchDone(text, ids))

    def _poll(self, known: tuple[tuple[int, int], ...]) -> None:
        if self.review.stamp() != known:
            self._screen.post_message(FilesChanged())

    def _save(self) -> None:
        """Write what is not written yet; one thread at a time, for the last review in the file counts."""
        with self._saving:
            said = [command for several in self._taken() for command in several]
            if said:
                self._screen.post_message(LabelsSaved(said, commands.send(self._run.commands_file, *said)))

    def _taken(self) -> list[Said]:
        return [self._unsaved.popleft() for _ in range(len(self._unsaved))]

    def _save_bookmark(self, bookmark: Bookmark) -> None:
        with self._saving:
            bookmarks.write(self._run, bookmark)
