"""A person's reviews of a run's responses: agreement with the judge, own scores, a note, a bad reference.

Of several reviews of a response the last one in the run's commands counts. Their times decide nothing: the clocks of
two machines differ, and a clock may step back.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from msgspec.structs import asdict, replace

from engine.protocol.commands import Label, Opinion, RecordedLabels, ResponseKey
from engine.protocol.person import person
from llamaduo_tui.views.review import RoundNumber, reviewed

Said = list[Label]
"""Commands that record reviews."""

NOTHING = Opinion()


@dataclass(slots=True)
class _Unread:
    """A command of this app that was not read back yet; `end` is where it ends in the file, once it is written."""

    id: str
    labels: dict[ResponseKey, Label]
    end: int | None = None


@dataclass(frozen=True, slots=True)
class _Act:
    """What a person did at once, in words, and what was said of these responses before."""

    words: str
    before: dict[ResponseKey, Opinion]


class Undone(NamedTuple):
    """An act that is undone, in words; how many responses have their review from before again; what records it."""

    words: str
    responses: int
    said: Said


class Annotations:
    """The last label of each response, whoever wrote it: those in the run's file, and those on their way there."""

    def __init__(self) -> None:
        self.labels: dict[ResponseKey, Label] = {}
        self._unread: list[_Unread] = []
        self._acts: list[_Act] = []
        self._own: set[str] = set()
        self._reviewed: dict[RoundNumber, Counter[str]] = defaultdict(Counter)

    def update(self, recorded: RecordedLabels) -> None:
        """Take over the labels of the run's file. Reviews that are written behind them, or will be, still count."""
        self._unread = [one for one in self._unread if one.end is None or one.end > recorded.end]
        self.labels = dict(recorded.labels)
        for one in self._unread:
            self.labels.update(one.labels)
        self._reviewed.clear()
        for (number, id_, _), label in self.labels.items():
            if reviewed(label):
                self._reviewed[number][id_] += 1

    def written(self, said: Said, end: int) -> None:
        """Note where these reviews end in the run's file."""
        ids = {command.id for command in said}
        for one in self._unread:
            if one.id in ids:
                one.end = end

    def forget(self) -> None:
        """Forget everything, as something could not be written; the caller reads the labels again."""
        self.labels.clear()
        self._unread.clear()
        self._acts.clear()
        self._reviewed.clear()

    def change(self, keys: Iterable[ResponseKey], words: str, **values: Any) -> Said:
        """Review responses, as an act with a name; fields that are not named stay. The caller saves the commands."""
        before = {key: self._opinion(key) for key in keys}
        changed = {opinion: replace(opinion, **values) for opinion in set(before.values())}
        said = self._say({key: changed[opinion] for key, opinion in before.items()})
        self._acts.append(_Act(words, before))
        return said

    def undo(self) -> Undone | None:
        """Undo the last act, except where somebody else has reviewed a response since; None where there is no act.

        The caller saves the commands.
        """
        if not self._acts:
            return None
        act = self._acts.pop()
        mine = {
            key: opinion
            for key, opinion in act.before.items()
            if key in self.labels and self.labels[key].id in self._own
        }
        return Undone(act.words, len(mine), self._say(mine))

    @property
    def can_undo(self) -> bool:
        return bool(self._acts)

    def reviewed(self, round_: RoundNumber) -> Set[str]:
        """The ids of a round's prompts with a review."""
        return self._reviewed[round_].keys()

    def marks(self, round_: RoundNumber, id_: str, samples: Iterable[int]) -> str:
        """The reviews of a prompt's responses: ✓ agrees, ✗ disagrees, ⚑ bad reference, ✎ a note."""
        if id_ not in self._reviewed[round_]:
            return ""
        known = (self.labels.get((round_, id_, sample)) for sample in samples)
        labels = [label for label in known if label is not None and reviewed(label)]
        if any(label.agrees is False for label in labels):
            marks = "✗"
        else:
            marks = "✓" if any(label.agrees for label in labels) else ""
        marks += "⚑" if any(label.flagged for label in labels) else ""
        return marks + ("✎" if any(label.note for label in labels) else "")

    def _opinion(self, key: ResponseKey) -> Opinion:
        label = self.labels.get(key)
        return NOTHING if label is None else label.opinion

    def _say(self, opinions: Mapping[ResponseKey, Opinion]) -> Said:
        """Record what is now said of responses: one command for all of which the same is said."""
        alike: dict[tuple[RoundNumber, Opinion], list[tuple[str, int]]] = defaultdict(list)
        for (number, id_, sample), opinion in opinions.items():
            alike[number, opinion].append((id_, sample))
        said = [
            Label(round=number, responses=responses, by=person(), **asdict(opinion))
            for (number, opinion), responses in alike.items()
        ]
        for label in said:
            labels = dict.fromkeys(label.keys, label)
            self._unread.append(_Unread(label.id, labels))
            self._own.add(label.id)
            self._put(labels)
        return said

    def _put(self, labels: Mapping[ResponseKey, Label]) -> None:
        for key, label in labels.items():
            old, counts = self.labels.get(key), self._reviewed[key[0]]
            self.labels[key] = label
            counts[key[1]] += reviewed(label) - (old is not None and reviewed(old))
            if not counts[key[1]]:
                del counts[key[1]]
