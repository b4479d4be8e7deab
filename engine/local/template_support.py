"""Whether the local model can be shown all of a pair: a model cannot know what its chat template leaves out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from engine.local.adaptation import adaptations
from engine.local.chat_shape import shape_of
from engine.local.rendering import render
from engine.local.template import template_errors
from engine.local.turns import template_turns
from engine.protocol.errors import InputError
from engine.protocol.rows import Message, Pair, Tool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOOL_SETS = 1000
"""Different sets of tools that are remembered."""


class TemplateSupport:
    """Checks whether a tokenizer's chat template can show everything in pairs.

    Only a shape of chat or a set of tools that is new is rendered. `notes` says how pairs are changed to fit, each
    sentence with its number of pairs.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.notes: Counter[str] = Counter()
        self._tokenizer = tokenizer
        self._adaptations = adaptations(tokenizer)
        self._refused = lru_cache(TOOL_SETS)(self._refusal)

    def unsupported(self, pair: Pair) -> str:
        """Why the template cannot show the whole pair, as "misfit: reason", or "" where it can."""
        try:
            problem = self._problem(pair.prompt, pair.messages[-1], pair.tools)
        except InputError as error:
            problem = error.message
        return f"misfit: {problem}" if problem else ""

    def _problem(self, prompt: Sequence[Message], target: Message, tools: Sequence[Tool]) -> str:
        shape, offers = shape_of(prompt), bool(tools)
        adaptation = self._adaptations.find(shape, offers)
        if adaptation.problem:
            return adaptation.problem
        if "tool_calls" in target:
            (mark,) = shape_of([target])
            if problem := self._adaptations.call_problem(shape, mark, offers):
                return problem
        if tools and (problem := self._refused(_text(tools))):
            return problem
        self.notes.update(adaptation.notes)
        return ""

    def _refusal(self, tools: str) -> str:
        """Why the template refuses definitions of tools, given as JSON, or ""."""
        question: list[Message] = [{"role": "user", "content": "question"}]
        defined = json.loads(tools)
        try:
            turns = template_turns(self._adaptations.of(question, defined).apply(question))
            render(self._tokenizer, turns, defined, generate=True)
        except InputError as error:
            return error.message
        return ""


def _text(tools: Sequence[Tool]) -> str:
    with template_errors():
        return json.dumps(tools)
