"""Personal data in texts and rows: found by pattern, and masked by placeholders such as [EMAIL_1].

Precision comes first: a match is reported where its form or the words around it leave little doubt. Names are found
only after words that announce one. This does not make data anonymous: what no pattern describes stays.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec.structs import replace

from engine.dataset.credentials import keys, passwords
from engine.dataset.identifiers import (
    Span,
    cards,
    emails,
    has_number,
    ibans,
    ipv4_addresses,
    ipv6_addresses,
    lettered_ids,
    national_ids,
    phones,
)
from engine.dataset.person_names import names
from engine.protocol.rows import Called, Message, Pair, ToolCall

KINDS: dict[str, tuple[str, str]] = {
    "key": ("API key or token", "API keys or tokens"),
    "password": ("password in a URL", "passwords in URLs"),
    "email": ("e-mail address", "e-mail addresses"),
    "card": ("card number", "card numbers"),
    "iban": ("bank account number", "bank account numbers"),
    "id": ("national id", "national ids"),
    "ip": ("IP address", "IP addresses"),
    "phone": ("phone number", "phone numbers"),
    "name": ("name of a person", "names of people"),
}
"""The kinds of personal data, each with its words for one and for several; earlier ones win where matches overlap."""

_RANK = {kind: number for number, kind in enumerate(KINDS)}
Finders = tuple[tuple[str, Callable[[str], Iterator[Span]]], ...]
_FINDERS: Finders = (
    ("key", keys),
    ("password", passwords),
    ("email", emails),
    ("id", lettered_ids),
    ("ip", ipv6_addresses),
    ("name", names),
)
_OF_NUMBERS: Finders = (
    ("card", cards),
    ("iban", ibans),
    ("id", national_ids),
    ("ip", ipv4_addresses),
    ("phone", phones),
)
_PLACEHOLDER = re.compile(r"\[(KEY|PASSWORD|EMAIL|CARD|IBAN|ID|IP|PHONE|NAME)_(\d{1,6})\]")
_JSON_PIECE = re.compile(r'"(?:[^"\\]++|\\.)*+"|(?<![\w.+-])\d{9,20}(?![\w.])', re.DOTALL)
"""A string of a JSON text, or a number that may be one of a phone or a card."""

_JSON_BEGINS = ("{", "[", '"')
_KEY_BEFORE = re.compile(r'"([^"\\]{1,40})"\s{0,8}:\s{0,8}$')
_BETWEEN = "\n\0\n"
"""Stands between texts that are looked through together; no pattern reaches across."""

_BY_CONTEXT = ("phone", "name", "ip", "id")
"""Kinds that the words around them reveal: their values are masked wherever the row repeats them."""

_MOST_LITERALS = 50
_DEPTH = 3
"""JSON within strings of JSON is opened this deep."""

_PASSES = 4


class Found(NamedTuple):
    """Personal data in a text: its kind, and the place of the value."""

    kind: str
    start: int
    end: int


def find(text: str) -> list[Found]:
    """All personal data in a text, in order; matches don't overlap."""
    found = list(_matches(text))
    return _apart(found) if len(found) > 1 else found


def _matches(text: str) -> Iterator[Found]:
    for kind, spans in (*_FINDERS, *_OF_NUMBERS) if has_number(text) else _FINDERS:
        for start, end in spans(text):
            yield Found(kind, start, end)


def mask(text: str) -> str:
    """The text with placeholders for personal data; equal values have the same one. JSON stays valid JSON."""
    return _Masker([text]).masked(text)


def redacted(pair: Pair) -> Pair:
    """The pair with placeholders for personal data in its messages, calls, results and tool definitions.

    A value has the same placeholder wherever the row repeats it. The id is left as it is.
    """
    if not _values(pair):
        return pair
    masker = _Masker(_texts(pair))
    return replace(
        pair,
        messages=[_masked_message(message, masker) for message in pair.messages],
        tools=[_masked_value(tool, masker) for tool in pair.tools],
    )


def kinds_in(pair: Pair) -> dict[str, int]:
    """How many pieces of personal data of each kind a pair holds; a value that is repeated counts once."""
    counts: dict[str, int] = {}
    for kind, _ in {(kind, _same(kind, value)) for kind, value in _values(pair)}:
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _values(pair: Pair) -> list[tuple[str, str]]:
    """Kinds and values in a pair. Texts that rows share are looked through once, the others of a row together."""
    shared = [message["content"] for message in pair.messages if message["role"] == "system"]
    shared += [text for tool in pair.tools for text in _strings(tool)]
    own = [text for message in pair.messages if message["role"] != "system" for text in _texts_of(message)]
    found = [value for text in shared for value in _cached_values_in(text)]
    plain = not any(text.lstrip()[:1] in _JSON_BEGINS for text in own)
    if not plain or next(_matches(_BETWEEN.join(own)), None):
        found += [value for text in own for value in _values_in(text)]
    return found


def counted(kind: str, count: int) -> str:
    """A number with the words of a kind: "3 e-mail addresses"."""
    return f"{count:,} {KINDS[kind][count != 1]}"


def _values_in(text: str) -> tuple[tuple[str, str], ...]:
    """Kinds and values in a text."""
    return tuple(
        (found.kind, piece[found.start : found.end])
        for piece, before in _pieces(text)
        for found in find(piece)
        if found.start >= before
    )


_cached_values_in = lru_cache(maxsize=1024)(_values_in)


class _Masker:
    """Gives the values of one row their placeholders."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._last: dict[str, int] = {}
        texts = list(texts)
        for text in texts:
            for kind, number in _PLACEHOLDER.findall(text):
                self._last[kind] = max(self._last.get(kind, 0), int(number))
        literals = {value: kind for text in texts for kind, value in _values_in(text) if kind in _BY_CONTEXT}
        self._literals = literals
        longest_first = sorted(literals, key=len, reverse=True)[:_MOST_LITERALS]
        self._known = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)") if literals else None

    def masked(self, text: str, depth: int = 0) -> str:
        """The text without the row's values; JSON is masked string by string."""
        if depth < _DEPTH and _is_json(text):
            return _JSON_PIECE.sub(lambda piece: self._json_piece(piece, depth), text)
        return self._plain(text)

    def _json_piece(self, piece: re.Match[str], depth: int) -> str:
        raw = piece[0]
        if raw[0] != '"':
            masked = self._plain(raw, _context(piece))
            return raw if masked == raw else json.dumps(masked)
        value = json.loads(raw)
        masked = self.masked(value, depth + 1) if _is_json(value) else self._plain(value, _context(piece))
        return raw if masked == value else json.dumps(masked, ensure_ascii=False)

    def _plain(self, text: str, before: str = "") -> str:
        for _ in range(_PASSES):  # what is masked may set another value free
            masked = self._once(text, before)
            if masked == text:
                break
            text = masked
        return text

    def _once(self, text: str, before: str) -> str:
        found = [
            Found(found.kind, found.start - len(before), found.end - len(before))
            for found in find(before + text)
            if found.start >= len(before)
        ]
        if self._known is not None:
            found += [Found(self._literals[known[0]], *known.span()) for known in self._known.finditer(text)]
        parts, end = [], 0
        for match in _apart(found):
            parts += [text[end : match.start], self._placeholder(match.kind, text[match.start : match.end])]
            end = match.end
        return "".join([*parts, text[end:]])

    def _placeholder(self, kind: str, value: str) -> str:
        key = kind, _same(kind, value)
        if key not in self._names:
            label = kind.upper()
            self._last[label] = self._last.get(label, 0) + 1
            self._names[key] = f"[{label}_{self._last[label]}]"
        return self._names[key]


def _apart(found: list[Found]) -> list[Found]:
    """Matches that don't overlap, in order: of several the first kind wins, then the longest."""
    kept: list[Found] = []
    starts: list[int] = []
    for match in sorted(found, key=lambda match: (_RANK[match.kind], match.start - match.end, match.start)):
        place = bisect_left(starts, match.start)
        after = place == len(kept) or match.end <= kept[place].start
        if after and (place == 0 or kept[place - 1].end <= match.start):
            kept.insert(place, match)
            starts.insert(place, match.start)
    return kept


def _same(kind: str, value: str) -> str:
    """What equal values have in common, however they are written."""
    if kind in ("card", "iban", "id", "phone"):
        return "".join(sign for sign in value if sign.isalnum()).upper()
    return value.casefold() if kind == "email" else value


def _texts(pair: Pair) -> list[str]:
    texts = [text for message in pair.messages for text in _texts_of(message)]
    return [*texts, *(text for tool in pair.tools for text in _strings(tool))]


def _texts_of(message: Message) -> list[str]:
    return [message["content"], *(call["function"]["arguments"] for call in message.get("tool_calls", []))]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _pieces(text: str, depth: int = 0) -> Iterator[tuple[str, int]]:
    """The texts to look into, each with the number of characters that are only its context.

    It is the text itself; of JSON it is each string behind its key.
    """
    if depth >= _DEPTH or not _is_json(text):
        yield text, 0
        return
    for piece in _JSON_PIECE.finditer(text):
        value = str(json.loads(piece[0])) if piece[0][0] == '"' else piece[0]
        if _is_json(value):
            yield from _pieces(value, depth + 1)
        else:
            context = _context(piece)
            yield f"{context}{value}", len(context)


def _context(piece: re.Match[str]) -> str:
    """The key of a value in a JSON text, as words before it: "phone: "."""
    left = piece.string[max(0, piece.start() - 64) : piece.start()]
    key = _KEY_BEFORE.search(left)
    return f"{key[1]}: " if key else ""


def _is_json(text: str) -> bool:
    if text.lstrip()[:1] not in _JSON_BEGINS:
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _masked_message(message: Message, masker: _Masker) -> Message:
    masked = message.copy()
    masked["content"] = masker.masked(message["content"])
    if "tool_calls" in message:
        masked["tool_calls"] = [_masked_call(call, masker) for call in message["tool_calls"]]
    return masked


def _masked_call(call: ToolCall, masker: _Masker) -> ToolCall:
    called: Called = {"name": call["function"]["name"], "arguments": masker.masked(call["function"]["arguments"])}
    return {"id": call["id"], "type": call["type"], "function": called}


def _masked_value(value: Any, masker: _Masker) -> Any:
    if isinstance(value, str):
        return masker.masked(value)
    if isinstance(value, list):
        return [_masked_value(item, masker) for item in value]
    if isinstance(value, dict):
        return {key: _masked_value(item, masker) for key, item in value.items()}
    return value
