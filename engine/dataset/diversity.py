"""How the user's prompts are written, measured: what new pairs are to be like, call by call.

Calls that all say the same bring the same pairs. Each gets the length and the form of one train row and the subject of
another, of the same kind as its seed, so that together they spread as the user's own prompts do. Nothing here comes
from dev.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.dataset.tfidf import Terms
from engine.protocol.rows import Pair, normalise

SUBJECT_WORDS = 3
UPPER = 0.5
"""Share of capitals among the letters from which on a text shouts."""

FORMS = (
    ("with a question in it", re.compile(r"[?？؟]")),
    ("with an exclamation", re.compile(r"[!！]")),
    ("with figures", re.compile(r"\d")),
    ("with quoted lines", re.compile(r"^\s*>", re.MULTILINE)),
    ("with a list", re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE)),
    ("with a greeting or a closing on a line of its own", re.compile(r"^[^\n]{1,40}[,!]\s*$", re.MULTILINE)),
    ("over several lines", re.compile(r"\S\s*\n\s*\S")),
)
"""What can be told of a text in any language, and how the writer is asked for it."""


@dataclass(frozen=True, slots=True)
class Traits:
    """A prompt's length in words, its form and its subject, in words that a writer understands."""

    words: int
    form: str
    subject: tuple[str, ...]


class Variety:
    """The traits of the train rows, drawn from for each call; `kinds` are the rows' groups, `terms` their words."""

    def __init__(self, train: Sequence[Pair], kinds: Sequence[str], terms: Terms) -> None:
        self._kind = dict(zip((pair.id for pair in train), kinds, strict=True))
        self._rows: defaultdict[str, list[Traits]] = defaultdict(list)
        for place, (pair, kind) in enumerate(zip(train, kinds, strict=True)):
            if pair.calls_tools:  # no seed, and its last message may be a tool's
                continue
            text = pair.prompt[-1]["content"]
            own = terms.top(terms.matrix[place].toarray().ravel(), SUBJECT_WORDS)
            present = set(normalise(text).split())
            subject = tuple(word for word in own if word in present)
            self._rows[kind].append(Traits(_words(text), _form(text), subject))

    def line(self, seed: Pair, hardness: Mapping[str, float], dice: random.Random) -> str:
        """What to ask for beside the seed; `hardness` is by kind, the chance from 0 to 1 of asking for a hard case."""
        kind = self._kind[seed.id]
        rows = self._rows[kind]
        shape, other = dice.choice(rows), dice.choice(rows)
        parts = [f"Length: about {shape.words} words.", f"Form: {shape.form}."]
        if seed.category and len(self._rows) > 1:
            parts.insert(0, f"Kind: {kind}.")
        if other.subject:
            parts.append(f"Subject: such as {', '.join(other.subject)}.")
        hard = dice.random() < hardness[kind]
        parts.append("Difficulty: hard, where a hasty reader goes wrong." if hard else "Difficulty: as is usual.")
        return "\n".join(parts)


def _words(text: str) -> int:
    """Words as a writer is told them: to a unit up to 20, from there to two digits."""
    count = len(text.split())
    if count == 1 and len(text) > 20:  # a script without spaces
        count = len(text) // 2
    step = 1 if count < 20 else 5 if count < 100 else 10 ** (len(str(count)) - 2)
    return max(1, round(count / step) * step)


def _form(text: str) -> str:
    letters = [char for char in text if char.isalpha()]
    found = [name for name, pattern in FORMS if pattern.search(text)]
    if letters and not any(char.isupper() for char in letters) and any(char.islower() for char in letters):
        found.append("all in small letters")
    elif letters and sum(char.isupper() for char in letters) > UPPER * len(letters):
        found.append("in capitals")
    return ", ".join(found) or "plain"
