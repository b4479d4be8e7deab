"""A text as a service might give it back: the same to a reader, another to a comparison of strings."""

from __future__ import annotations

import random

SYNONYMS = ("splendid", "kindly", "moreover")
FILLERS = ("well", "really", "just")
FILLER = "I found this in an old letter and wonder what to make of it. "


def reword(text: str, dice: random.Random, edits: int = 1) -> str:
    """Another greeting, `edits` times words swapped, replaced and put in, and other marks or case."""
    words = text.replace(",", "").split()
    for _ in range(edits):
        at = dice.randrange(len(words) - 1)
        words[at : at + 2] = words[at + 1], words[at]
        words[dice.randrange(len(words))] = dice.choice(SYNONYMS)
        words.insert(dice.randrange(len(words)), dice.choice(FILLERS))
    told = f"Good evening to you all! {' '.join(words)} Cheers, Pat"
    return told.upper() if dice.random() < 0.5 else told.replace(".", ";")


def embed(text: str) -> str:
    """The text inside a longer one."""
    return FILLER * 2 + text.lower() + "\n" + FILLER * 2
