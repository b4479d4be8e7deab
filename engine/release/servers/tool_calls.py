"""Tool calls in a model's own words, as OpenAI's API gives them."""

from __future__ import annotations

import secrets
from typing import Any

from transformers import PreTrainedTokenizerBase

from engine.protocol import jsonl

BEGIN, END = "<tool_call>", "</tool_call>"
"""The form of Qwen, Hermes and SmolLM3; others say theirs in the tokenizer's response template."""


def read_calls(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], prompt: list[int], tools: list[dict[str, Any]], text: str
) -> tuple[str, list[dict[str, Any]]]:
    """The text of an answer and its calls; all of it is text where no call can be read."""
    if getattr(tokenizer, "response_template", None) is not None:
        parsed = tokenizer.parse_response(ids, prefix=tokenizer.decode(prompt), tools=tools)
        found = [call["function"] for call in parsed.get("tool_calls") or []]
        return (parsed.get("content") or "", [_call(one) for one in found]) if found else (text, [])
    said, *parts = text.split(BEGIN)
    calls = []
    for part in parts:
        written, ended, after = part.partition(END)
        if not ended:  # cut, or no call at all
            return text, []
        said += after
        try:
            function = jsonl.loads(written.strip().encode())
        except ValueError:
            return text, []
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return text, []
        calls.append(_call(function))
    return (said.strip(), calls) if calls else (text, [])


def _call(function: dict[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments") or {}
    return {
        "id": f"call_{secrets.token_hex(8)}",
        "type": "function",
        "function": {
            "name": function["name"],
            "arguments": arguments if isinstance(arguments, str) else jsonl.dumps(arguments),
        },
    }
