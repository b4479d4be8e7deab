"""What a model takes of our parameters: learned from its refusals, remembered for the model, told once.

A parameter that a model refuses by name is renamed or left out; the limit of completion tokens is lowered to what the
model allows, and to what its context window leaves next to the prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from engine.service.completion import Request
from engine.service.faults import TOO_LARGE, Fault, Kind

TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")

SPELLINGS = {
    "temperature": ("temperature",),
    "response_format": (
        "response_format",
        "json_schema",
        "response schema",
        "response_schema",
        "responseschema",
        "responsejsonschema",
        "response_json_schema",
        "response_mime_type",
        "output_format",
        "output_config",
        "structured output",
        "json schema",
        "xgrammar",
        "grammar",
        "guided_json",
        "guided decoding",
        "json mode",
        "additionalproperties",
    ),
}
"""How services name our own parameters; all others go by their own names."""

REFUSES = re.compile(
    r"unsupported|not\s{1,9}(?:be\s{1,9})?(?:supported|allowed|permitted|available|compatible|recognized|enabled)"
    r"|does(?:n't|\s{1,9}not)\s{1,9}(?:support|accept|allow)|deprecated|unknown|unrecognized|unexpected|invalid|incompatible"
    r"|extra(?:_forbidden|\s{1,9}(?:inputs|fields))|only\s{1,9}(?:the\s{1,9})?default|must\s{1,9}be|cannot|can't|forbidden|no\s{1,9}longer"
    r"|too\s{1,9}(?:large|high|big|many)|range|exceed|maximum|unavailable|enabled\s{1,9}only|only\s{1,9}(?:be|for|supported)"
    r"|should\s{1,9}be|conversion\s{1,9}failed|failed\s{1,9}to\s{1,9}(?:compile|convert|parse)",
    re.IGNORECASE,
)
"""How a service says that it refuses a parameter."""

NOT_TAKEN = re.compile(
    r"unsupported|not\s{1,9}(?:be\s{1,9})?(?:supported|allowed|permitted|compatible|recognized)|deprecated|unknown|unrecognized"
    r"|unexpected|does(?:n't|\s{1,9}not)\s{1,9}(?:support|accept|allow)|extra|forbidden|no\s{1,9}longer|use\s{1,9}\W?max_",
    re.IGNORECASE,
)
"""How it says that it does not take the parameter at all, whatever the value."""

N = r"(?<![\d,_])(\d[\d,_]{0,15})"
CONTEXT = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"context\s{{1,9}}(?:length|window|size|limit)\s{{0,9}}(?:is|of|:|=|\()?\s{{0,9}}(?:only\s{{1,9}}|at\s{{1,9}}most\s{{1,9}})?{N}\s{{0,9}}tokens?",
        rf"{N}\s{{0,9}}\+\s{{0,9}}{N}\s{{0,9}}>\s{{0,9}}{N}",
        rf"model\s{{1,9}}with\s{{1,9}}{N}\s{{1,9}}maximum\s{{1,9}}context",
        rf"\"?n_ctx\"?\s{{0,9}}[=:]\s{{0,9}}{N}",
        rf"maximum\s{{1,9}}(?:model|context)\s{{1,9}}(?:len(?:gth)?|window)\D{{0,20}}{N}",
        rf"context\s{{1,9}}(?:length|window|size)\s{{0,9}}\({N}",
        rf"model(?:'s)?\s{{1,9}}token\s{{1,9}}limit\s{{0,9}}(?:of|:|is)?\s{{0,9}}{N}",
        rf"must\s{{1,9}}be\s{{1,9}}<=\s{{0,9}}{N}",
        rf"while\s{{1,9}}limit\s{{1,9}}is\s{{1,9}}{N}",
    )
]
PROMPT = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{N}\s{{0,9}}\+\s{{0,9}}{N}\s{{0,9}}>\s{{0,9}}{N}",
        rf"{N}\s{{0,9}}(?:tokens?\s{{0,9}})?(?:in|from|of)\s{{1,9}}(?:the\s{{1,9}})?(?:messages|prompt|text\s{{1,9}}input|input)",
        rf"(?:prompt|request|input|passed|messages)\D{{0,40}}?{N}\s{{1,9}}(?:input\s{{1,9}}|prompt\s{{1,9}})?tokens?",
        rf"{N}\s{{1,9}}(?:input|prompt)\s{{1,9}}tokens?",
        rf"\"?n_prompt_tokens\"?\s{{0,9}}[=:]\s{{0,9}}{N}",
    )
]
CEILING = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"at\s{{1,9}}most\s{{1,9}}{N}\s{{1,9}}(?:completion|output)",
        rf">\s{{0,9}}{N},?\s{{1,9}}(?:which\s{{1,9}}is\s{{1,9}}the\s{{1,9}}maximum|must\s{{1,9}}have\s{{1,9}}stream)",
        rf"exceeds\s{{1,9}}the\s{{1,9}}(?:model(?:'s)?\s{{1,9}})?(?:limit|maximum)\s{{1,9}}(?:of\s{{1,9}})?{N}",
        rf"(?:less\s{{1,9}}than\s{{1,9}}or\s{{1,9}}equal\s{{1,9}}to|<=|no\s{{1,9}}more\s{{1,9}}than|not\s{{1,9}}exceed|at\s{{1,9}}most|up\s{{1,9}}to)\s{{0,9}}`?{N}",
        rf"(?:valid\s{{1,9}})?range\D{{0,60}}?\d{{1,15}}\D{{1,12}}{N}",
        rf"maximum\s{{1,9}}(?:allowed|value|number\s{{1,9}}of\s{{1,9}}(?:completion|output)\s{{1,9}}tokens)\D{{0,30}}{N}",
    )
]
"""Patterns for numbers of tokens: of the context window, of the prompt, and the most of a completion."""

LEAST_QUOTED, MAX_QUOTED = 20, 2000
"""Characters of a prompt that an error quotes, to be seen as a quote; and those that are compared."""

LEAST_ROOM = 128
"""Completion tokens that must be left for a call to make sense."""

MARGIN = 16
"""Tokens that chat templates may add."""


class Lesson(NamedTuple):
    """What a refusal teaches: in words, "" where it was known, and the limit of completion tokens for this request."""

    told: str
    max_tokens: int | None = None


class Terms:
    """What one model takes."""

    def __init__(self) -> None:
        self.omitted: set[str] = set()
        self.renamed = False
        self.ceiling: int | None = None
        self.context: int | None = None
        self.room = 0
        """Completion tokens that a reply of this model has needed: less would cut it again."""

    @property
    def unlimited(self) -> bool:
        """Whether the model takes no limit of completion tokens, so that a call's cost has no bound."""
        return "max_tokens" in self.omitted

    def fit(self, request: Request, prompt_tokens: float) -> Request:
        """The request with a limit of completion tokens that the model allows, for a prompt of about so many tokens."""
        wanted = request.max_completion_tokens
        tokens = wanted if "max_tokens" in request.extra else max(wanted, self.room)
        if self.ceiling is not None:
            tokens = min(tokens, self.ceiling)
        if self.context is not None:
            left = self.context - int(prompt_tokens) - MARGIN
            tokens = min(tokens, max(left, LEAST_ROOM))
        return request if tokens == wanted else request.allowing(tokens)

    def params(self, request: Request) -> dict[str, Any]:
        """The parameters of a request as this model takes them."""
        params = {name: value for name, value in request.params.items() if name not in self.omitted}
        if self.renamed and "max_tokens" in params:
            params["max_completion_tokens"] = params.pop("max_tokens")
        return params

    def learn(self, fault: Fault, request: Request, sent: Mapping[str, Any] | None = None) -> Lesson | None:
        """What a fault of this request teaches, which was `sent` with these parameters; None for other faults.

        The request is then to be sent again. Each lesson changes something, so that they come to an end.
        """
        if fault.status not in (400, 404, 413, 422) and fault.kind is not Kind.REQUEST:
            return None
        text = f"{fault.param} {_without_prompt(fault.text, request)}"
        if sent is not None and sent.keys() != self.params(request).keys():
            return Lesson("")  # it was sent before another refusal taught the same
        if lesson := (
            _fit_limit(text, request) or self._fit_context(text, request) or self._lower_ceiling(text, request)
        ):
            return lesson
        if fault.kind is Kind.REQUEST or not REFUSES.search(text):
            return None
        told = self._rename(fault, text) or self._omit(fault, text, request)
        return Lesson(told) if told else None

    def _fit_context(self, text: str, request: Request) -> Lesson | None:
        """Ask for what the context window leaves next to the prompt."""
        context = _number(CONTEXT, text, last=True)
        if context is None:
            return None
        counted, asked = _number(PROMPT, text), request.max_completion_tokens
        left = context - MARGIN - (request.prompt_bytes // 3 if counted is None else counted)
        if left >= asked:  # the prompt takes more than the service says, or than we guess
            left = asked // 2
        if left < LEAST_ROOM:
            return None
        known, self.context = self.context == context, context
        told = f"asks for what its context window of {context:,} tokens leaves next to the prompt"
        return Lesson("" if known else told, max_tokens=left)

    def _lower_ceiling(self, text: str, request: Request) -> Lesson | None:
        ceiling = _number(CEILING, text) if "token" in text.lower() else None
        if ceiling is None or not LEAST_ROOM <= ceiling < request.max_completion_tokens:
            return None
        self.ceiling = ceiling
        return Lesson(f"asks for at most {ceiling:,} completion tokens, the model's limit", max_tokens=ceiling)

    def _rename(self, fault: Fault, text: str) -> str:
        """Send max_tokens under the name that newer models want; leave it out where they want neither."""
        if not any(name in text for name in TOKEN_LIMITS):
            return ""
        if not NOT_TAKEN.search(text) or self.unlimited:
            return ""
        if not self.renamed:
            self.renamed = True
            return "sends max_completion_tokens instead of max_tokens"
        self.omitted.add("max_tokens")
        return "sends no limit of completion tokens: the budget can no longer bound what one call costs"

    def _omit(self, fault: Fault, text: str, request: Request) -> str:
        """Leave out the parameter that the fault names."""
        lowered = text.lower()
        for name in self.params(request):
            if name in ("tools", "tool_choice", *TOKEN_LIMITS):
                continue
            nested = name in request.extra and not isinstance(request.extra[name], int | float | str)
            if nested and fault.param != name:
                continue  # a nested one of the user's may say where the data may go
            if fault.param == name or any(
                _names(spelling, lowered) for spelling in SPELLINGS.get(name, (name.lower(),))
            ):
                self.omitted.add(name)
                return f"sends no {name}: the model refuses it"
        return ""


def _fit_limit(text: str, request: Request) -> Lesson | None:
    """Ask for what a limit of tokens a minute leaves next to the prompt; services count both against it."""
    if not (size := TOO_LARGE.search(text)):
        return None
    limit, wanted, asked = int(size[1]), int(size[2]), request.max_completion_tokens
    left = limit - max(0, wanted - asked) - MARGIN
    return Lesson(f"takes {limit:,} tokens a minute: asks for less", left) if LEAST_ROOM <= left < asked else None


def _without_prompt(text: str, request: Request) -> str:
    """An error's words without the prompt, which some services quote: what it says of itself teaches nothing."""
    for message in request.messages:
        content = message["content"]
        for quoted in {content, repr(content)[1:-1], json.dumps(content)[1:-1]}:
            if len(quoted) >= LEAST_QUOTED:
                text = text.replace(quoted, " ")
    longest = max((message["content"] for message in request.messages), key=len, default="")
    match = SequenceMatcher(None, text, longest[:MAX_QUOTED], autojunk=False).find_longest_match()
    return text if match.size < LEAST_QUOTED else f"{text[: match.a]} {text[match.a + match.size :]}"


def _names(spelling: str, lowered: str) -> bool:
    return re.search(rf"(?<![a-z_]){re.escape(spelling)}(?![a-z_])", lowered) is not None


def _number(patterns: list[re.Pattern[str]], text: str, *, last: bool = False) -> int | None:
    """The number of the first pattern that matches: of its first group, or of its last."""
    for pattern in patterns:
        if match := pattern.search(text):
            return int(re.sub(r"\D", "", match[match.re.groups if last else 1]))
    return None
