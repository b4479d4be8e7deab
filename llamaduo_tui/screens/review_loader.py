"""Loads a run's responses and verdicts for a screen: in threads, with messages as their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from textual.message import Message
from textual.screen import Screen
from textual.worker import get_current_worker

from engine.protocol import commands
from engine.protocol.commands import Label, ResponseKey
from engine.protocol.run_dir import Run
from llamaduo_tui.views.jsonl_index import gc_paused
from llamaduo_tui.views.review import LoadedRound, Review, RoundNumber

SAVE_GROUP = "review-label"
"""The group of the thread that saves a label: where it fails, the label must not look saved."""


@dataclass
class RoundLoaded(Message):
    """A round was read, or the one before it, which its changes are against."""

    round: LoadedRound
    rounds: list[RoundNumber]
    labels: dict[ResponseKey, Label]
    stamp: tuple[tuple[int, int], ...]


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

    def save(self, label: Label) -> None:
        """Append a label to the run's commands."""
        self._start(partial(commands.send, self._run.commands_file, label), SAVE_GROUP, exclusive=False)

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
        with gc_paused():
            opened = review.load(number)
        self._screen.post_message(RoundLoaded(opened, rounds, labels, stamp))
        earlier = [other for other in rounds if other is not None and number is not None and other < number]
        for other in reversed(earlier):
            if worker.is_cancelled:
                return
            with gc_paused():
                review.load(other)
            self._screen.post_message(RoundLoaded(review.load(number), rounds, labels, stamp))

    def _search(self, number: RoundNumber, text: str) -> None:
        worker = get_current_worker()
        ids = self.review.search(number, text, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self._screen.post_message(SearchDone(text, ids))

    def _poll(self, known: tuple[tuple[int, int], ...]) -> None:
        if self.review.stamp() != known:
            self._screen.post_message(FilesChanged())
