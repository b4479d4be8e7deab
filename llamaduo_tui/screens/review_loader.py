"""Loads a run's responses and verdicts for a screen: in threads, with messages as their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from textual.message import Message
from textual.screen import Screen
from textual.worker import get_current_worker

from engine.protocol import commands
from engine.protocol.commands import Label
from engine.protocol.run_dir import Run
from llamaduo_tui.views.annotation import ResponseKey
from llamaduo_tui.views.jsonl_index import gc_paused
from llamaduo_tui.views.review import Part, Review, Round

SAVE_GROUP = "review-label"
"""The group of the thread that saves a label: where it fails, the label must not look saved."""


@dataclass
class RoundLoaded(Message):
    """A round was read, or the one before it, which tells the changes."""

    round: Round
    parts: list[Part]
    labels: dict[ResponseKey, Label]
    size: tuple[tuple[int, int], ...]


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

    def open(self, part: Part) -> None:
        """Read a round and those before it, for the changes: `RoundLoaded`."""
        self._start(partial(self._open, part), "review-open")

    def open_newest(self) -> None:
        """Read the newest round with verdicts: `RoundLoaded`, or `NoResponses`."""
        self._start(self._open_newest, "review-open")

    def search(self, part: Part, text: str) -> None:
        """Find a text in a round: `SearchDone`."""
        self._start(partial(self._search, part, text), "review-search")

    def end_search(self) -> None:
        """Stop a search that is still running."""
        self._screen.workers.cancel_group(self._screen, "review-search")

    def poll(self, known: tuple[tuple[int, int], ...]) -> None:
        """See whether the files' sizes and times are still the known ones; else `FilesChanged`."""
        self._start(partial(self._poll, known), "review-poll")

    def save(self, label: Label) -> None:
        """Append a label to the run's commands."""
        self._start(partial(commands.send, self._run.commands_file, label), SAVE_GROUP, exclusive=False)

    def _start(self, work: Callable[[], None], group: str, exclusive: bool = True) -> None:
        self._screen.run_worker(work, group=group, exclusive=exclusive, thread=True, exit_on_error=False)

    def _open_newest(self) -> None:
        parts = self.review.parts()
        if not parts:
            self._screen.post_message(NoResponses())
            return
        rounds = [part for part in reversed(parts) if part is not None]
        # A round that is still running has no verdicts yet.
        self._open(next((part for part in rounds if self.review.judged(part)), rounds[0] if rounds else None))

    def _open(self, part: Part) -> None:
        review, worker = self.review, get_current_worker()
        size, parts, labels = review.size(), review.parts(), review.labels()
        with gc_paused():
            opened = review.load(part)
        self._screen.post_message(RoundLoaded(opened, parts, labels, size))
        earlier = [other for other in parts if other is not None and part is not None and other < part]
        for other in reversed(earlier):
            if worker.is_cancelled:
                return
            with gc_paused():
                review.load(other)
            self._screen.post_message(RoundLoaded(review.load(part), parts, labels, size))

    def _search(self, part: Part, text: str) -> None:
        worker = get_current_worker()
        ids = self.review.search(part, text, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self._screen.post_message(SearchDone(text, ids))

    def _poll(self, known: tuple[tuple[int, int], ...]) -> None:
        if self.review.size() != known:
            self._screen.post_message(FilesChanged())
