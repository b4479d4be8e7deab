"""How chats are shown to a tokenizer's model in one run: every other module of the local model renders through it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from engine.local.chat_shape import PROBE_TOOL
from engine.local.control_tokens import ControlTokens
from engine.local.frame import Completion, Frame, find_frame
from engine.local.probed import Turns
from engine.local.template import DATE_NAMES, Template
from engine.local.thinking import Block, length
from engine.protocol.errors import InputError
from engine.settings.local import THINKING_OFF

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SWITCH = re.compile("think|thought|reason|effort|cot", re.IGNORECASE)
"""The names of arguments that switch thinking, in templates that do not know enable_thinking."""
OFF = (False, "none", "off", 0)
"""What such an argument may be to switch it off, besides the texts that the template compares it with."""
NEGATIVE = re.compile("(no|not|disable|skip|without)_", re.IGNORECASE)
"""The names of arguments that switch thinking off where they are true."""
_NO_SWITCH = {"messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token", "strftime_now"}
_NO_SWITCH |= {"raise_exception", "namespace", "loop", "range", *DATE_NAMES}


class Rendering:
    """Renders chats for a model, and knows what its template puts around a response.

    Thinking is switched off by the argument that the template has for it, whatever its name, if `arguments`
    (local.template) ask for it by enable_thinking = false; a thinking block that prompts still open is closed.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any], day: date) -> None:
        self.template = Template(tokenizer, arguments, day)
        self.control = ControlTokens(tokenizer)
        self._eos: int = tokenizer.eos_token_id
        self.switches = lru_cache(2)(self._find_switches)
        self.frame = lru_cache(2)(self._find_frame)

    def raw(self, turns: Sequence[dict[str, Any]], tools: Sequence[Any], *, generate: bool) -> str:
        """The template's own text of turns. Raises InputError where it refuses them."""
        return self.template.text(turns, tools, generate=generate, **self.switches(bool(tools)))

    def text(self, turns: Sequence[dict[str, Any]], tools: Sequence[Any], *, generate: bool) -> str:
        """The text of turns; with `generate` the prompt up to where the response starts, no thinking block open.

        Raises InputError where the template refuses the turns, or opens a thinking block that cannot be closed.
        """
        text = self.raw(turns, tools, generate=generate)
        return self.frame(bool(tools)).prompt(text) if generate else text

    def texts(self, turns: Sequence[dict[str, Any]], tools: Sequence[Any]) -> tuple[str, Completion | None]:
        """The prompt of a chat whose last turn is a response, and that; None where the chat starts otherwise.

        Raises InputError as `text` does.
        """
        prompt = self.raw(turns[:-1], tools, generate=True)
        whole = self.raw(turns, tools, generate=False)
        frame = self.frame(bool(tools))
        return frame.prompt(prompt), frame.completion(prompt, whole, calls="tool_calls" in turns[-1])

    def arguments(self, tools: bool) -> dict[str, Any]:
        """The arguments that the template gets and knows, those found for it included; for servers that take them."""
        known = self.template.names(tools)
        given = {**self.template.arguments, **self.template.dates(tools), **self.switches(tools)}
        return {name: value for name, value in given.items() if name in known}

    @cached_property
    def ends(self) -> frozenset[int]:
        """The tokens that end a response, of texts and of tool calls."""
        frames = (self.frame(False), self.frame(True))
        return frozenset(ending.id for frame in frames for ending in (frame.ending, frame.calls_ending))

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The thinking blocks that responses may begin with, in chats with tools or without."""
        return tuple(dict.fromkeys([*self.frame(False).blocks, *self.frame(True).blocks]))

    @property
    def thinks(self) -> bool:
        """Whether the template or the vocabulary names a thinking block."""
        return self.frame(False).thinks or self.frame(True).thinks

    def _find_frame(self, tools: bool) -> Frame:
        return self._frame_with(tools, self.switches(tools))

    def _frame_with(self, tools: bool, switches: Mapping[str, Any]) -> Frame:
        def render(turns: Turns, *, generate: bool, **arguments: Any) -> str:
            return self.template.text(turns, _offered(tools), generate=generate, **{**switches, **arguments})

        return find_frame(render, self.control, self._eos, lambda: self.template.literals(tools))

    def _find_switches(self, tools: bool) -> dict[str, Any]:
        if self.template.arguments.get("enable_thinking") is not THINKING_OFF["enable_thinking"]:
            return {}
        frame = self._frame_with(tools, {})
        return next(self._switched_off(tools, bool(frame.opened)), {}) if frame.shown else {}

    def _switched_off(self, tools: bool, opened: bool) -> Iterator[dict[str, Any]]:
        """The arguments by which prompts do not open a thinking block, or show that there is to be none."""
        shown, default = self._question(tools), self._frame_with(tools, {})
        for name in self._candidates(tools, opened):
            values = (True,) if NEGATIVE.match(name) else (*OFF, *self.template.values(tools, name))
            for value in values:
                prompt = self._question(tools, **{name: value})
                if prompt is None or shown is None or prompt == shown:
                    continue
                frame = self._frame_with(tools, {name: value})
                default_on = value is False and self._question(tools, **{name: True}) == shown
                adds_block = prompt.startswith(shown) and length(prompt[len(shown) :], frame.blocks) > 0
                # Of a tag before each answer, which prompts then have: no thought can follow.
                takes_tag = bool(default.block) and not frame.block and not default.residue
                if not frame.opened and (opened or default_on or adds_block or takes_tag):
                    yield {name: value}

    def _candidates(self, tools: bool, opened: bool) -> list[str]:
        names = self.template.names(tools) - self.template.arguments.keys() - _NO_SWITCH
        named = sorted(name for name in names if SWITCH.search(name))
        return [*named, *sorted(names.difference(named))] if opened else named

    def _question(self, tools: bool, **arguments: Any) -> str | None:
        """A question as the template shows it; None where it refuses."""
        question = [{"role": "user", "content": "question"}]
        try:
            return self.template.text(question, _offered(tools), generate=True, **arguments)
        except InputError:
            return None


def _offered(tools: bool) -> list[Any]:
    return [PROBE_TOOL] if tools else []


_RENDERINGS: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[object, Rendering]] = WeakKeyDictionary()


def settle(tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any], day: date) -> None:
    """Fix how a tokenizer's chats are rendered: the template's arguments, and the day that it is told."""
    _RENDERINGS[tokenizer] = (_state(tokenizer), Rendering(tokenizer, arguments, day))


def rendering(tokenizer: PreTrainedTokenizerBase) -> Rendering:
    """How a tokenizer's chats are rendered: as settled, or else with the default arguments, today.

    The same object as long as the tokenizer's template is the same.
    """
    state, found = _RENDERINGS.get(tokenizer, (None, None))
    if found is None or state != _state(tokenizer):
        arguments = found.template.arguments if found else THINKING_OFF
        settle(tokenizer, arguments, found.template.day if found else date.today())
        found = _RENDERINGS[tokenizer][1]
    return found


def _state(tokenizer: PreTrainedTokenizerBase) -> object:
    return str(tokenizer.chat_template), tokenizer.eos_token


def render(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[dict[str, Any]], tools: Sequence[Any], *, generate: bool
) -> str:
    """The text of turns as `Rendering.text` gives it."""
    return rendering(tokenizer).text(turns, tools, generate=generate)
