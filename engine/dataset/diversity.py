"""Prompt diversity: measured on the train rows, and requested of the service call by call.

Calls with the same prompt bring the same pairs. So each call requests the length and the form of one train row and the
subject of another, both of the same kind as its seed; together the calls spread as the user's own prompts do. Nothing
here comes from dev.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.dataset.tfidf import TfIdf
from engine.protocol.rows import Pair, normalise

SUBJECT_WORDS = 3
LONGEST_WORD = 20
LABEL = re.compile(r"[\w-]{1,20}(?:[ /&][\w-]{1,20}){0,2}")
"""A category that can be requested by name. These lines stand among the instructions to the writer, so they quote no
more of a row than single words: a category may be a whole sentence, of somebody who wants other pairs."""

UPPER = 0.5
"""Share of capitals among the letters above which a text counts as written in capitals."""

FORMS = (
    ("with a question in it", re.compile(r"[?？؟]")),
    ("with an exclamation", re.compile(r"[!！]")),
    ("with figures", re.compile(r"\d")),
    ("with quoted lines", re.compile(r"^[^\S\n]*>", re.MULTILINE)),
    ("with a list", re.compile(r"^[^\S\n]*(?:[-*•]|\d+[.)])\s", re.MULTILINE)),
    ("with a greeting or a closing on a line of its own", re.compile(r"^[^\n]{1,40}[,!][^\S\n]*$", re.MULTILINE)),
    ("over several lines", re.compile(r"\S[^\S\n]*\n\s*\S")),
)
"""Forms that can be detected in any language, by the words that request them."""


@dataclass(frozen=True, slots=True)
class Traits:
    """A prompt's length in words, its form, and the words of its subject."""

    words: int
    form: str
    subject: tuple[str, ...]


class PromptDiversity:
    """The traits of the train rows, drawn for each call; `kinds` are the rows' groups, `tfidf` their words."""

    def __init__(self, train: Sequence[Pair], kinds: Sequence[str], tfidf: TfIdf) -> None:
        self._kind = dict(zip((pair.id for pair in train), kinds, strict=True))
        self._rows: defaultdict[str, list[Traits]] = defaultdict(list)
        for place, (pair, kind) in enumerate(zip(train, kinds, strict=True)):
            if pair.calls_tools:  # never a seed, and its last message may be a tool's
                continue
            text = pair.prompt[-1]["content"]
            top = tfidf.top(tfidf.matrix[place].toarray().ravel(), SUBJECT_WORDS)
            present = set(normalise(text).split())
            subject = tuple(word for word in top if word in present and len(word) <= LONGEST_WORD)
            self._rows[kind].append(Traits(_words(text), _form(text), subject))

    def request(self, seed: Pair, hardness: Mapping[str, float], dice: random.Random) -> str:
        """The traits to request with a seed, a line each; `hardness` is the chance of a hard case by kind, 0 to 1."""
        kind = self._kind[seed.id]
        rows = self._rows[kind]
        shape, other = dice.choice(rows), dice.choice(rows)
        lines = [f"Length: about {shape.words} words.", f"Form: {shape.form}."]
        if seed.category and len(self._rows) > 1:
            lines.insert(0, f"Kind: {kind if LABEL.fullmatch(kind) else 'that of the example'}.")
        if other.subject:
            lines.append(f"Subject: such as {', '.join(other.subject)}.")
        hard = dice.random() < hardness[kind]
        lines.append("Difficulty: hard, where a hasty reader goes wrong." if hard else "Difficulty: as is usual.")
        return "\n".join(lines)


def _words(text: str) -> int:
    """The number of words, rounded: exact up to 20, to fives up to 100, then to two digits."""
    count = len(text.split())
    if count == 1 and len(text) > 20:  # a script without spaces
        count = len(text) // 2
    step = 1 if count < 20 else 5 if count < 100 else 10 ** (len(str(count)) - 2)
    return max(1, round(count / step) * step)


def _form(text: str) -> str:
    letters = [char for char in text if char.isalpha()]
    forms = [name for name, pattern in FORMS if pattern.search(text)]
    if letters and not any(char.isupper() for char in letters) and any(char.islower() for char in letters):
        forms.append("all in small letters")
    elif letters and sum(char.isupper() for char in letters) > UPPER * len(letters):
        forms.append("in capitals")
    return ", ".join(forms) or "plain"
