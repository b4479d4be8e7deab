"""The pairs that a writer made, from its reply."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from engine.service.json_reading import MAX_DEPTH, ParsingError, json_values
from engine.service.thoughts import without_thoughts

Pair = dict[str, str]

INSTRUCTION = ("instruction", "prompt", "question", "input", "user")
RESPONSE = ("response", "completion", "answer", "output", "assistant")
"""Keys of a pair's texts, the ones that the prompt requests first."""

LISTS = ("contents", "pairs", "examples")
"""Keys under which an empty list means that there are no pairs; it may mean anything under others."""

MESSAGES = ("messages", "conversation", "conversations")
ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "system": "system"}

FORM = '{"contents": [{"instruction": "...", "response": "..."}]}'

_NAMED = r"(?:text|string|instruction|response|prompt|question|answer|input|output|completion)"
PLACEHOLDER = re.compile(
    rf"[<\[{{(](?:(?:an?|the|your|new|another|next|first|second|example|user|full|\d+) )*{_NAMED}"
    rf"(?: (?:text|here|\d+))*[>\]}})]|\$\{{?{_NAMED}\}}?|(?:instruction|response)(?: (?:text|here|\d+))*|<?[.…]+>?",
    re.IGNORECASE,
)
"""A text in place of a text, such as those of the prompt's template."""

VALUE_OF_A_PAIR = re.compile(rf"""["'](?:{"|".join(RESPONSE)})["']\s{{0,9}}:\s{{0,9}}\Z""", re.IGNORECASE)


def parse_pairs(text: str, *, like: str = "") -> list[Pair]:
    """The (instruction, response) objects that a writer made; raises ParsingError where there is no list of them.

    Members that lack either text, or have a placeholder for it, are left out; those before a cut are kept; an empty
    list is valid. A response that is a list of strings may be lines or JSON: it is JSON where the response `like`,
    that of the seed, is a JSON list, and left out otherwise.
    """
    text = without_thoughts(text)
    if not text.strip():
        raise ParsingError("the reply is empty")
    found = _Found(is_list=_is_json_list(like))
    values, around = json_values(text)
    for before, value in zip(around, values, strict=False):
        if not VALUE_OF_A_PAIR.search(before[-80:]):  # the end of a pair that is broken
            found.search(value)
    if found.pairs or (found.empty and not found.flaws):
        return found.pairs
    if found.flaws:
        raise ParsingError(f"no pair can be used: {found.flaws.most_common(1)[0][0]}")
    raise ParsingError(f"no JSON object of the form {FORM}")


@dataclass(slots=True)
class _Found:
    """What was found in a reply: pairs, members that are none by their flaw, and whether there is an empty list."""

    is_list: bool
    pairs: list[Pair] = field(default_factory=list)
    flaws: Counter[str] = field(default_factory=Counter)
    empty: bool = False

    def search(self, value: Any, depth: int = 0) -> None:
        """Add the pairs in a value: a pair, a list of them, or an object that holds either."""
        if depth > MAX_DEPTH:
            return
        if isinstance(value, list):
            self.empty |= not value
            if _turns(value):
                self._add_chat(value)
            else:
                for inner in value:
                    self.search(inner, depth + 1)
        elif isinstance(value, dict):
            self._search_object({key.strip().casefold(): inner for key, inner in value.items()}, depth)

    def _search_object(self, members: dict[str, Any], depth: int) -> None:
        chat = next((members[key] for key in MESSAGES if _turns(members.get(key))), None)
        if chat:
            self._add_chat(chat)
        elif _has_texts(members):
            response = _first(members, RESPONSE)
            if isinstance(response, list) and response and all(map(_has_texts, response)):
                self.search(response, depth + 1)
            else:
                self._add(members)
        elif isinstance(members.get("contents"), dict | list):
            self.search(members["contents"], depth + 1)
        else:
            for key, inner in members.items():
                if inner != [] or len(members) == 1 or key in LISTS:
                    self.search(inner, depth + 1)
            if not any(isinstance(inner, dict | list) for inner in members.values()):
                self._add_flaw(members)

    def _add_chat(self, chat: list[Any]) -> None:
        turns = [turn for turn in _turns(chat) if turn[0] != "system"]
        if [role for role, _ in turns] == ["user", "assistant"]:
            self._add(dict(turns))
        else:
            self.flaws["a pair is one user message and one assistant message"] += 1

    def _add(self, members: dict[str, Any]) -> None:
        instruction, response = _first(members, INSTRUCTION), _first(members, RESPONSE)
        rest = members.get("input") if "instruction" in members else None
        text = _text(response)
        if not isinstance(instruction, str) or not instruction.strip():
            self.flaws["a pair lacks the text of its instruction"] += 1
        elif isinstance(rest, str) and rest.strip():
            self.flaws["an instruction must include its whole input"] += 1
        elif not text.strip():
            self.flaws["a pair lacks the text of its response"] += 1
        elif _is_list_of_strings(response) and not self.is_list:
            self.flaws["a response is a list of strings instead of a string"] += 1
        elif any(PLACEHOLDER.fullmatch(" ".join(text.split())) for text in (instruction, text)):
            self.flaws["a pair holds a placeholder instead of a text"] += 1
        else:
            self.pairs.append({"instruction": instruction.strip(), "response": text.strip()})

    def _add_flaw(self, members: dict[str, Any]) -> None:
        for keys, text in ((RESPONSE, "instruction"), (INSTRUCTION, "response")):
            if _first(members, keys) is not None:
                self.flaws[f"a pair lacks the text of its {text}"] += 1


def _has_texts(value: Any) -> bool:
    """Whether an object has both keys of a pair."""
    keys = {key.strip().casefold() for key in value} if isinstance(value, dict) else set()
    return not keys.isdisjoint(INSTRUCTION) and not keys.isdisjoint(RESPONSE)


def _first(members: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((members[key] for key in keys if key in members), None)


def _text(response: Any) -> str:
    """A response's text: labels may be numbers, and JSON may have been left outside of its string."""
    if isinstance(response, str):
        return response
    if response is None or (isinstance(response, float) and not math.isfinite(response)):
        return ""
    return json.dumps(response, ensure_ascii=False)


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(isinstance(inner, str) for inner in value)


def _is_json_list(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except (ValueError, RecursionError):
        return False


def _turns(value: Any) -> list[tuple[str, Any]]:
    """The roles and contents of a list of chat messages; empty for anything else."""
    turns = []
    for message in value if isinstance(value, list) else ():
        role = message.get("role", message.get("from")) if isinstance(message, dict) else None
        if not isinstance(role, str) or role.casefold() not in ROLES:
            return []
        turns.append((ROLES[role.casefold()], message.get("content", message.get("value"))))
    return turns
