"""The one place where chats become tokens: training, inference and export all use it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from engine.protocol.errors import InputError
from engine.protocol.rows import Message, Tool

CHOOSE = "use only roles that the model knows (some know no system role), or choose another model"


@dataclass(frozen=True)
class Encoded:
    """A pair in tokens: the prompt, and the completion to learn with its end token."""

    prompt_ids: list[int]
    completion_ids: list[int]


@dataclass(frozen=True)
class _Chat:
    """A chat as templates take it; a mark stands for each control token that a user wrote.

    `quoted` is the mark, then these tokens; empty where there are none.
    """

    turns: list[dict[str, Any]]
    tools: list[Tool]
    quoted: list[str]


def encode(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Encoded:
    """A chat whose last message is the assistant's target; its prompt is the same as that of `encode_prompt`.

    The completion is the target with the white space that the template puts before it and exactly one end token.
    Where a template renders past responses in another way than new ones (thinking blocks, trimming), the target itself
    is used, since the model must write that after the prompt; a tool call is used as the template writes it. Raises
    InputError where the template refuses the chat.
    """
    chat = _chat(tokenizer, messages, tools)
    prompt = _render(tokenizer, chat.turns[:-1], chat.tools, add_generation_prompt=True)
    whole = _render(tokenizer, chat.turns, chat.tools, add_generation_prompt=False)
    answer, target = whole.removeprefix(prompt), chat.turns[-1]["content"]
    end = end_token_id(tokenizer)
    if "tool_calls" in chat.turns[-1]:
        if not whole.startswith(prompt):
            raise InputError("the local model's chat template puts tool calls outside the assistant turn", CHOOSE)
        completion = answer.rpartition(str(tokenizer.convert_ids_to_tokens(end)))[0] or answer.rstrip()
    else:
        lead = answer[: max(0, answer.find(target))]
        completion = target if lead.strip() else lead + target
    return Encoded(_tokenise(tokenizer, prompt, chat.quoted), [*_tokenise(tokenizer, completion, chat.quoted), end])


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], tools: Sequence[Tool] = ()
) -> list[int]:
    """The tokens that the model is given, up to where its answer starts. Raises InputError as `encode` does."""
    chat = _chat(tokenizer, prompt, tools)
    return _tokenise(tokenizer, _render(tokenizer, chat.turns, chat.tools, add_generation_prompt=True), chat.quoted)


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
    """The text that the model is given, control tokens included. Raises InputError as `encode` does."""
    return _render(tokenizer, _turns(prompt), list(tools), add_generation_prompt=True)


def reference(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
    """The target as the model's own answers are read: where it holds calls, in the form of the template."""
    return str(tokenizer.decode(encode(tokenizer, messages, tools).completion_ids[:-1], skip_special_tokens=True))


def end_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends the assistant's turn: the first special one that the template puts after an answer.

    For Gemma that is <end_of_turn>, not the tokenizer's eos token, which is what counts where there is none.
    """
    probe = "answer"
    chat = [{"role": "user", "content": "prompt"}, {"role": "assistant", "content": probe}]
    after = _render(tokenizer, chat, [], add_generation_prompt=False).rpartition(probe)[2]
    special = set(tokenizer.all_special_ids)
    return next((i for i in _tokenise(tokenizer, after, []) if i in special), tokenizer.eos_token_id)


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


def _chat(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Sequence[Tool]) -> _Chat:
    """Put marks for control tokens that users wrote, so that they stay text.

    Only chats that hold such text are tokenised in pieces; all others give the tokens that any server would.
    """
    turns = _turns(messages)
    everything = "\n".join(_strings([turns, list(tools)]))
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    quoted = sorted((s for s in special | set(tokenizer.all_special_tokens) if s in everything), key=len, reverse=True)
    if not quoted:
        return _Chat(turns, list(tools), [])
    mark = next(chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in everything)
    pattern = re.compile("|".join(map(re.escape, quoted)))

    def quote(text: str) -> str:
        return pattern.sub(lambda match: f"{mark}{quoted.index(match[0])}{mark}", text)

    return _Chat(_mapped(turns, quote), _mapped(list(tools), quote), [mark, *quoted])


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as templates take them: a call's arguments are an object, a result names its function."""
    names: dict[str, str] = {}
    turns = []
    for message in messages:
        turn: dict[str, Any] = {"role": message["role"], "content": message["content"]}
        calls = message.get("tool_calls", [])
        names |= {call["id"]: call["function"]["name"] for call in calls}
        if calls:
            functions = [{**c["function"], "arguments": json.loads(c["function"]["arguments"])} for c in calls]
            turn["tool_calls"] = [{**call, "function": f} for call, f in zip(calls, functions, strict=True)]
        if message["role"] == "tool":
            id_ = message["tool_call_id"]
            turn |= {"tool_call_id": id_, "name": names[id_]}
        turns.append(turn)
    return turns


def _strings(value: Any) -> Iterator[str]:
    """All texts in a JSON value, names of fields included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value:
            yield from _strings(item)
        if isinstance(value, dict):
            yield from _strings(list(value.values()))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with each of its texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    if isinstance(value, dict):
        return {change(key): _mapped(item, change) for key, item in value.items()}
    return value


def _render(
    tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, Any]], tools: list[Any], add_generation_prompt: bool
) -> str:
    try:
        text = tokenizer.apply_chat_template(
            turns, tools=tools or None, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except (TemplateError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"the local model's chat template refuses this chat: {reason}", CHOOSE) from None
    return str(text)


def _tokenise(tokenizer: PreTrainedTokenizerBase, text: str, quoted: list[str]) -> list[int]:
    if not quoted:
        return list(tokenizer(text, add_special_tokens=False).input_ids)
    mark, *literals = quoted
    ids: list[int] = []
    for index, piece in enumerate(re.split(f"{mark}(\\d+){mark}", text)):
        literal = index % 2 == 1
        written = literals[int(piece)] if literal else piece
        ids += tokenizer(written, add_special_tokens=False, split_special_tokens=literal).input_ids
    return ids
