"""What the review says of its list, in its title and where the list is empty. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator

from engine.protocol.stages import Phase
from llamaduo_tui.views import phrases
from llamaduo_tui.views.annotation import Annotations
from llamaduo_tui.views.review import LoadedRound, RoundNumber
from llamaduo_tui.views.review_list import Narrowing, ReviewSort, drawn_progress, queue_words
from llamaduo_tui.views.text import one_line


def round_name(number: RoundNumber) -> str:
    """A round's name: "round 1", "sealed test"."""
    return phrases.part(Phase.SEALED if number is None else number)


def facts(
    loaded: LoadedRound, shown: int, annotations: Annotations, narrowing: Narrowing, sort: ReviewSort
) -> Iterator[str]:
    """The parts of the title, for a list of `shown` prompts; in the drawn order, how far its answers are reviewed."""
    done = drawn_progress(loaded, annotations.labels) if loaded.drawn else None
    narrowed = [one_line(words, 80) for words in narrowing.words]
    if done is not None and sort == "drawn":
        yield queue_words(done)
        yield from narrowed
    else:
        prompts = phrases.count(len(loaded.entries), "prompt")
        yield round_name(loaded.number)
        yield from narrowed
        yield prompts if shown == len(loaded.entries) else f"{shown:,} of {prompts}"
        yield f"{len(annotations.reviewed(loaded.number) & loaded.entries.keys()):,} reviewed"
        if done is not None:
            yield f"{done.reviewed} of {done.drawn} drawn"
    if not loaded.judged:
        yield "not judged yet"
    if loaded.unreadable:
        yield f"! {phrases.count(loaded.unreadable, 'unreadable line')}"


def nothing(loaded: LoadedRound, narrowing: Narrowing, sort: ReviewSort) -> str:
    """Why the list is empty, and what to do."""
    if not loaded.entries:
        return "No responses yet."
    if sort == "drawn" and not loaded.drawn:
        return "No answers are drawn for this round. A round of dev prompts has some once it is decided on."
    narrowed = f" The list is narrowed to: {', '.join(narrowing.words)}. Press i to change that."
    return "No prompt matches the filter and the search." + (narrowed if narrowing.words else "")
