"""The answers that tell most about a run: the worst of its newest judged round, next to the service's.

It reads a round's files: call it from a thread.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from engine.protocol.rows import prompt_text
from engine.protocol.run_dir import Run
from llamaduo_tui.views import diff
from llamaduo_tui.views.diff import Line, Piece
from llamaduo_tui.views.jsonl_index import gc_paused
from llamaduo_tui.views.review import PromptEntry, Review, RoundNumber
from llamaduo_tui.views.text import one_line

SHOWN = 30
"""Prompts that are shown, those with the lowest scores."""

CHARS = 400
"""Characters of a text that are shown and compared."""

MOST_BYTES = 16 * 2**20
"""Bytes of a round's files up to which its worst answers are looked for: the review reads larger ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A prompt, the service's and the local model's answer with the words that differ, and the mean scores.

    `change` is in points since the round before, None where that is not known.
    """

    prompt: str
    service: Line
    local: Line
    precision: float | None
    similarity: float | None
    change: float | None

    @property
    def same(self) -> bool:
        """Whether the local model answers word by word as the service."""
        return not any(piece.changed for piece in (*self.service, *self.local))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The worst answers of a round, or of the sealed test (None), out of `prompts`; none where there are too many."""

    round: RoundNumber
    prompts: int
    worst: tuple[Answer, ...]


def worst(run: Run, *, sealed: bool = False) -> Answers | None:
    """The worst answers of the newest round that is judged, or of the sealed test; None where nothing may be read.

    Raises LlamaDuoError for files that cannot be read.
    """
    review = Review(run)
    judged = [number for number in review.rounds() if review.judged(number) and (sealed or number is not None)]
    if not judged or not all(os.access(file, os.R_OK) for file in review.files(judged[-1])):
        return None
    newest = judged[-1]
    if _bytes(review.files(newest)) > MOST_BYTES:
        return Answers(round=newest, prompts=0, worst=())
    with gc_paused():
        before = review.previous(newest)
        if before is not None and all(os.access(file, os.R_OK) for file in review.files(before)):
            review.load(before)
        loaded = review.load(newest)
        chosen = sorted(loaded.entries.values(), key=_worst_first)[:SHOWN]
        return Answers(
            round=newest,
            prompts=len(loaded.entries),
            worst=tuple(_answer(review, newest, entry) for entry in chosen),
        )


def _answer(review: Review, number: RoundNumber, entry: PromptEntry) -> Answer:
    response = review.response(number, entry.id, entry.samples[0]).response
    prompt = prompt_text(response.prompt[-1:])
    service, local = _compared(one_line(response.target, CHARS), one_line(response.response, CHARS))
    score = entry.score
    return Answer(
        prompt=one_line(_on_from(entry.start, prompt), CHARS),
        service=service,
        local=local,
        precision=score.precision if score is not None else None,
        similarity=score.similarity if score is not None else None,
        change=entry.change,
    )


def _on_from(start: str, prompt: str) -> str:
    """A prompt from where its row in a list begins; such a row is short, since it is kept for each prompt."""
    at = prompt.find(start.removeprefix("…"))
    return start if at < 0 else f"{start}{prompt[at + len(start.removeprefix('…')) :][:CHARS]}"


def _compared(service: str, local: str) -> tuple[Line, Line]:
    """Both texts with the words that differ."""
    row = diff.text_rows(service, local)[0]
    return row.left or (Piece(""),), row.right or (Piece(""),)


def _worst_first(entry: PromptEntry) -> tuple[bool, float]:
    return entry.mean is None, entry.mean or 0.0


def _bytes(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.exists())
