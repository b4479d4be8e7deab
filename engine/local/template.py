"""Renders chats by a tokenizer's chat template; every other module of the local model goes through it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from engine.protocol.errors import InputError
from engine.protocol.rows import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHOOSE = "choose a model in local.model whose chat template supports this chat"

_FAILURES = (TemplateError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""The errors of templates: of Jinja, those that they raise on purpose, and those of the expressions in them."""


def template_turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as templates take them: a call's arguments are an object, a result names its function.

    A result whose call is unknown names none. Raises InputError where arguments are not a JSON object.
    """
    names: dict[str, str] = {}
    turns = []
    for message in messages:
        turn: dict[str, Any] = {"role": message["role"], "content": message["content"]}
        calls = message.get("tool_calls", [])
        names |= {call["id"]: call["function"]["name"] for call in calls}
        if calls:
            functions = [{**c["function"], "arguments": arguments(c["function"]["arguments"])} for c in calls]
            turn["tool_calls"] = [{**call, "function": f} for call, f in zip(calls, functions, strict=True)]
        if message["role"] == "tool":
            id_ = message.get("tool_call_id", "")
            turn["tool_call_id"] = id_
            if id_ in names:
                turn["name"] = names[id_]
        turns.append(turn)
    return turns


def arguments(text: str) -> dict[str, Any]:
    """The arguments of a call. Raises InputError where the text is not a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError("the arguments of a tool call are not a JSON object", "fix or remove the row")
    return value


def render(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[dict[str, Any]], tools: Sequence[Any], *, generate: bool
) -> str:
    """The text of turns; with `generate` up to where the next response starts.

    Raises InputError where the template refuses them.
    """
    with template_errors():
        return str(
            tokenizer.apply_chat_template(
                list(turns), tools=list(tools) or None, tokenize=False, add_generation_prompt=generate
            )
        )


@contextmanager
def template_errors() -> Iterator[None]:
    """Turn the errors of a template into an InputError."""
    try:
        yield
    except _FAILURES as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"the local model's chat template refuses this chat: {reason}", CHOOSE) from None


def ensure_chat_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a base model ChatML, each turn ended by the model's own eos token, and every model a padding token.

    No token is added, since LoRA would not train its embedding. Raises InputError where there is no eos token.
    """
    if tokenizer.eos_token is None:
        raise InputError("the local model's tokenizer has no end token", "choose another model in local.model")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer.chat_template:
        starts_with_bos = tokenizer.bos_token_id is not None and tokenizer.bos_token_id in tokenizer("").input_ids
        tokenizer.chat_template = (
            ("{{ bos_token }}" if starts_with_bos else "")
            + "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
            + " + eos_token + '\n' }}{% endfor %}"
            + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
        )
