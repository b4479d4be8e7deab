"""Whether a chat template renders all of a prompt: a model cannot know what its template leaves out."""

from __future__ import annotations

from functools import cached_property

from transformers import PreTrainedTokenizerBase

from engine.local.chat import encode, render_prompt
from engine.protocol.errors import InputError
from engine.protocol.rows import Message, Pair, Tool

PROBE_TOOL: Tool = {
    "type": "function",
    "function": {
        "name": "probename",
        "description": "probedescription",
        "parameters": {"type": "object", "properties": {"probekey": {"type": "string"}}},
    },
}
PROBE: list[Message] = [
    {"role": "system", "content": "probesystem"},
    {"role": "user", "content": "probequestion"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": "call00001",
                "type": "function",
                "function": {"name": "probecall", "arguments": '{"probe": "probearg"}'},
            }
        ],
    },
    {"role": "tool", "content": "proberesult", "tool_call_id": "call00001"},
]


class TemplateSupport:
    """Checks whether a tokenizer's chat template renders everything in a pair."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer

    def unsupported(self, pair: Pair) -> str:
        """Why the template cannot render the whole pair, or "" where it can."""
        if any(message["role"] == "system" for message in pair.prompt) and not self._renders_system:
            return "the local model's chat template leaves out system prompts"
        if pair.tools and not self._renders_tools:
            return "the local model's chat template leaves out tool definitions"
        if pair.calls_tools and not self._renders_calls:
            return "the local model's chat template leaves out tool calls or their results"
        try:
            encode(self._tokenizer, pair.messages, pair.tools)
        except InputError as error:
            return error.message
        return ""

    @cached_property
    def _renders_system(self) -> bool:
        return self._renders(PROBE[:2], [], "probesystem")

    @cached_property
    def _renders_tools(self) -> bool:
        return self._renders(PROBE[1:2], [PROBE_TOOL], "probename", "probedescription", "probekey")

    @cached_property
    def _renders_calls(self) -> bool:
        return self._renders(PROBE[1:], [PROBE_TOOL], "probecall", "probearg", "proberesult")

    def _renders(self, prompt: list[Message], tools: list[Tool], *words: str) -> bool:
        """Whether all words are in the rendered prompt; True where the template refuses it, as it then does pairs."""
        try:
            text = render_prompt(self._tokenizer, prompt, tools)
        except InputError:
            return True
        return all(word in text for word in words)
