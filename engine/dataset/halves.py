"""Requests and replies that were logged apart, such as a batch's input and output, joined by their ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from engine.dataset.formats import ending
from engine.dataset.formats.names import ANSWER, PROMPT, REPLY, REQUEST, Fields
from engine.dataset.record import Dropped, Record

IDS = ("custom_id", "customId", "recordId", "request_id", "requestId", "key", "id", "uuid")
"""Fields by which the halves of an exchange find each other, the surest first."""

BATCH = ("custom_id", "customId", "recordId", "key")

_BATCHED = frozenset(BATCH)

NO_INPUT = "no prompt: the row is a reply alone; name the file with the requests too, such as a batch's input"

NO_PROMPT, NO_ANSWER = "no prompt", "no answer"


class Half(NamedTuple):
    """A record that cannot be used alone, and the reason."""

    record: Record
    reason: str

    @property
    def is_request(self) -> bool:
        return self.reason.startswith(NO_ANSWER)

    def dropped(self) -> Dropped:
        """The half as a row that nothing was found for."""
        value = self.record.value
        lonely = not self.is_request and any(value.get(name) for name in BATCH)
        return self.record.dropped(NO_INPUT if lonely else self.reason)


class Halves:
    """Records that hold only a request or only a reply; each finds its other half by an id that both have."""

    def __init__(self) -> None:
        self._halves: list[Half] = []
        self._whole: set[tuple[str, str]] = set()

    def pass_by(self, record: Record) -> None:
        """Remember that a record of a batch is whole: its request may stand in another file again."""
        if isinstance(record.value, dict) and not _BATCHED.isdisjoint(record.value):
            self._whole.update(key for key in _ids(record.value) if key[0] in BATCH)

    def take(self, record: Record, reason: str) -> bool:
        """Whether a record that is refused for this reason may be a half, which is then remembered."""
        missing = reason.startswith((NO_PROMPT, NO_ANSWER))
        if not (missing and isinstance(record.value, dict) and any(_ids(record.value))) or _has_both(record.value):
            return False
        self._halves.append(Half(record, reason))
        return True

    def joined(self) -> Iterator[Record | Dropped]:
        """The whole records, in the order of their requests, and the halves that are left."""
        replies: dict[tuple[str, str], list[Half]] = defaultdict(list)
        for half in self._halves:
            if not half.is_request:
                for key in _ids(half.record.value):
                    replies[key].append(half)
        requests = [half for half in self._halves if half.is_request]
        asked = defaultdict[tuple[str, str], int](int)
        for half in requests:
            for key in _ids(half.record.value):
                asked[key] += 1
        used: set[int] = set()
        for half in requests:
            told = next((replies[key] for key in _ids(half.record.value) if key in replies), [])
            found = _best(told)
            shared = any(asked[key] > 1 for key in _ids(half.record.value) if key in replies)
            if not self._whole.isdisjoint(_ids(half.record.value)):
                yield half.record.dropped("same prompt: the batch's output repeats the request")
            elif len(found) == 1 and not shared:
                used.update(map(id, told))
                record = half.record
                asked_for = {name: value for name, value in record.value.items() if value not in (None, "", [], {})}
                yield record._replace(value={**found[0].record.value, **asked_for})
            elif found:
                used.update(map(id, told))
                yield half.record.dropped("no answer: several requests or replies have its id")
            else:
                yield half.dropped()
        yield from (half.dropped() for half in self._halves if not half.is_request and id(half) not in used)


def _has_both(value: Mapping[str, Any]) -> bool:
    """Whether a row has fields for both sides, of which one is empty: it is no half, it failed."""
    fields = Fields(value)
    asked, said = fields.first((*REQUEST, *PROMPT)), fields.first((*REPLY, *ANSWER))
    return asked is not None and said is not None and None not in (fields.get(asked), fields.get(said))


def _best(replies: list[Half]) -> list[Half]:
    """The replies to one request without those of calls that failed and were tried again."""
    good = [half for half in replies if not _failed(half.record.value)]
    return good or replies


def _failed(value: Mapping[str, Any]) -> bool:
    return any(ending.failure(place) for place in (value, value.get("response"), value.get("result")))


def _ids(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in IDS:
        if isinstance(given := value.get(name), str | int) and given != "":
            yield name, str(given)
