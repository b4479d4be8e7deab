"""A person's reviews of a run's responses: agreement with the judge, own scores, a note, a bad reference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from engine.protocol.commands import Label, ResponseKey
from engine.protocol.person import person
from llamaduo_tui.views.review import reviewed


class Annotations:
    """The newest label of each response, whoever wrote it."""

    def __init__(self) -> None:
        self.labels: dict[ResponseKey, Label] = {}

    def update(self, labels: dict[ResponseKey, Label]) -> None:
        """Take over labels from the run's file, unless a newer one is here."""
        for key, label in labels.items():
            if key not in self.labels or label.time >= self.labels[key].time:
                self.labels[key] = label

    def change(self, key: ResponseKey, **values: Any) -> Label:
        """Give a response a new label, which the caller saves; fields that are not named stay as they are."""
        fresh = Label(round=key[0], prompt=key[1], sample=key[2])
        label = replace(self.labels.get(key) or fresh, id=fresh.id, time=fresh.time, by=person(), **values)
        self.labels[key] = label
        return label

    def reviewed(self, round_: int | None) -> set[str]:
        """The ids of a round's prompts with a review."""
        return {id_ for (number, id_, _), label in self.labels.items() if number == round_ and reviewed(label)}

    def marks(self, round_: int | None, id_: str, samples: Iterable[int]) -> str:
        """The reviews of a prompt's responses: ✓ agrees, ✗ disagrees, ⚑ bad reference, ✎ a note."""
        if not self.labels:
            return ""
        known = (self.labels.get((round_, id_, sample)) for sample in samples)
        labels = [label for label in known if label is not None and reviewed(label)]
        if any(label.agrees is False for label in labels):
            marks = "✗"
        else:
            marks = "✓" if any(label.agrees for label in labels) else ""
        marks += "⚑" if any(label.flagged for label in labels) else ""
        return marks + ("✎" if any(label.note for label in labels) else "")
