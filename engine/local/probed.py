"""One question as a chat template shows it: alone, with its answer, with a call of a tool, and with a thought first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.local import thinking
from engine.local.control_tokens import ControlTokens
from engine.local.thinking import Block
from engine.protocol.errors import InputError

QUESTION, ANSWER, THOUGHT, NAME, VALUE, OTHER = "Qprobe1", "Zprobe2", "Xprobe3", "probe4", "Wprobe5", "Vprobe6"
REASONING = ("reasoning_content", "thinking", "reasoning")
"""The fields of a message in which templates look for a thought."""

_TAG = re.compile(r"<[^<>\s]{1,40}>|\[[^\[\]\s]{1,40}\]")
"""Texts that are one thing, whether the tokenizer has them as a token or not."""

CALL_ID = "call00001"
_CALLED = {"id": CALL_ID, "type": "function", "function": {"name": NAME, "arguments": {"key": VALUE}}}
CALL: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [_CALLED]}
_OTHER = {"id": "call00002", "type": "function", "function": {"name": NAME, "arguments": {"key": OTHER}}}
_ANSWERED = {"role": "assistant", "content": ANSWER}

Turns = list[dict[str, Any]]


class Render(Protocol):
    """Renders turns by a template, with further arguments. Raises InputError where the template refuses them."""

    def __call__(self, turns: Turns, *, generate: bool, **arguments: Any) -> str: ...


@dataclass(frozen=True)
class Thoughtful:
    """A response with a thought in front, as text up to where it `says` its answer or the name of its call.

    All is empty where the template shows no thought.
    """

    text: str = ""
    says: str = ANSWER

    @property
    def before(self) -> str:
        return self.text.partition(THOUGHT)[0]

    @property
    def behind(self) -> str:
        """What is between the thought and what is said."""
        return self.text.partition(THOUGHT)[2].partition(self.says)[0]


@dataclass(frozen=True)
class Probed:
    """One question as a template shows it: the `prompt`, and that chat `answered` by text or `called`, by a call.

    `called` is "" where the template shows no calls. Some templates show a thought only in front of calls.
    """

    render: Render
    question: Turns
    prompt: str
    answered: str
    called: str
    thoughtful: Thoughtful

    @classmethod
    def of(cls, render: Render) -> Probed | None:
        """None where the template shows no question with an answer."""
        user = {"role": "user", "content": QUESTION}
        for question in ([user], [{"role": "system", "content": ""}, user], [{"role": "system", "content": "s"}, user]):
            prompt = shown(render, question, generate=True)
            answered = shown(render, [*question, _ANSWERED])
            if prompt and ANSWER in answered:
                called = shown(render, [*question, CALL])
                return cls(render, question, prompt, answered, called, _thoughtful(render, question))
        return None

    @property
    def asked(self) -> int:
        """Where the question ends in the prompt."""
        return self.prompt.rfind(QUESTION) + len(QUESTION)

    @property
    def is_prefix(self) -> bool:
        return self.answered.startswith(self.prompt)

    @property
    def stem(self) -> int:
        """The characters of the prompt that an answered chat shows too.

        Where the two show the question differently, that counts which they have in common behind it.
        """
        length = len(common(self.prompt, self.answered))
        if length < self.asked:
            length = self.asked + len(common(self.prompt[self.asked :], _behind_question(self.answered, ANSWER)))
            return _before_tag(self.prompt, length)
        length = _before_tag(self.prompt, length)
        tag = thinking.unclosed(self.prompt[self.asked : length])
        return length if tag is None else self.asked + tag

    @property
    def residue(self) -> str:
        return self.prompt[self.stem :]

    @property
    def lead(self) -> str:
        """What the answered chat has between the prompt, or what it shows of it, and the answer."""
        return self._lead(self.answered, ANSWER)

    @property
    def opening(self) -> str:
        """What starts a response, "" where that is not told from the end of the question."""
        history = shown(self.render, self.question)
        return self.prompt[len(history) : self.stem] if history and self.prompt.startswith(history) else ""

    @property
    def after_thought(self) -> str:
        """What closes a thought before an answer and before a call alike."""
        behind = self.thoughtful.behind
        if self.thoughtful.says == NAME:
            return behind.removesuffix(self._lead(self.called, NAME))
        call = shown(self.render, [*self.question, {**CALL, **dict.fromkeys(REASONING, THOUGHT)}])
        before_call = Thoughtful(call, NAME).behind
        shared = common(behind, before_call) if before_call else behind
        return shared if shared.strip() else behind

    def blocks(self, known: Sequence[Block]) -> Iterator[Block]:
        """The block in which the template puts thoughts, where the prompt doesn't open it."""
        stem, found = self.prompt[: self.stem], self.thoughtful
        if found.text and found.before.startswith(stem):
            lead = self._lead(self.answered if found.says == ANSWER else self.called, found.says)
            lead = lead[cut:].lstrip() if (cut := thinking.length(lead, known)) else lead
            block = Block(found.before[len(stem) :], found.behind.removesuffix(lead) if lead else found.behind)
            if block.opening.strip() and block.closing.strip():
                yield block

    def inner(self, control: ControlTokens) -> set[str]:
        """The control tokens inside of calls: those before a call's value, and those between two calls."""
        calling = {"role": "assistant", "content": "", "tool_calls": [_CALLED, _OTHER]}
        both = shown(self.render, [*self.question, calling])
        between = both.partition(VALUE)[2].partition(OTHER)[0] if OTHER in both else ""
        before = _behind_question(self.called, VALUE)
        return {token for text in (before, between) for _, token in control.places(text, control.added)}

    def starts(self, control: ControlTokens) -> set[str]:
        """The control tokens that start a response: those that the prompt has and the question alone has not.

        Where a template always starts a response, those after the first behind the question, which ends its turn.
        """
        start = max(self.asked, len(common(self.prompt, shown(self.render, self.question))))
        if start < len(self.prompt):
            return {token for _, token in control.places(self.prompt[start:], control.added)}
        return {token for _, token in control.places(self.prompt[self.asked :], control.added)[1:]}

    def _lead(self, text: str, says: str) -> str:
        start = len(self.prompt) if text.startswith(self.prompt) else self.stem
        return _behind_question(text, says)[start - self.asked :]


def shown(render: Render, turns: Turns, *, generate: bool = False, **arguments: Any) -> str:
    """The text of turns, "" where the template refuses them."""
    try:
        return render(turns, generate=generate, **arguments)
    except InputError:
        return ""


def common(one: str, other: str) -> str:
    """What both texts start with."""
    length = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return one[: min(len(one), len(other)) if length is None else length]


def _before_tag(text: str, end: int) -> int:
    """The place `end`, or where the tag starts that reaches over it."""
    return next((tag.start() for tag in _TAG.finditer(text) if tag.start() < end < tag.end()), end)


def _behind_question(text: str, says: str) -> str:
    """What a chat has between the question and what the response says."""
    return text.partition(says)[0].rpartition(QUESTION)[2]


def _thoughtful(render: Render, question: Turns) -> Thoughtful:
    """The question with a thought in front of its answer or else of a call, in any field and by any argument."""
    for turn, says in ((_ANSWERED, ANSWER), (CALL, NAME)):
        for arguments in ({}, {"enable_thinking": True, "thinking": True}):
            for field in REASONING:
                text = shown(render, [*question, {**turn, field: THOUGHT}], **arguments)
                if 0 <= text.find(THOUGHT) < text.find(says):
                    return Thoughtful(text, says)
    return Thoughtful()
