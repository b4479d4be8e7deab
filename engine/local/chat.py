"""The one place where chats become tokens: training, inference and export all use it.

Chats are first changed as the template needs it: see `adaptation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.local.adaptation import adaptations
from engine.local.template import CHOOSE, render, template_errors, template_turns
from engine.protocol.errors import InputError
from engine.protocol.rows import Message, Pair, Tool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
    InputError where the template cannot show the chat.
    """
    chat = _quoted(tokenizer, _adapted(tokenizer, messages[:-1], tools, target=messages[-1]), tools)
    prompt, completion = _texts(tokenizer, chat)
    end = end_token_id(tokenizer)
    return Encoded(_tokenise(tokenizer, prompt, chat.quoted), [*_tokenise(tokenizer, completion, chat.quoted), end])


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], tools: Sequence[Tool] = ()
) -> list[int]:
    """The tokens that the model is given, up to where its answer starts. Raises InputError as `encode` does."""
    chat = _quoted(tokenizer, _adapted(tokenizer, prompt, tools), tools)
    return _tokenise(tokenizer, render(tokenizer, chat.turns, chat.tools, generate=True), chat.quoted)


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
    """The text that the model is given, control tokens included. Raises InputError as `encode` does."""
    return render(tokenizer, _adapted(tokenizer, prompt, tools), tools, generate=True)


def reference(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
    """The target as the model's own answers are read: where it holds calls, in the form of the template."""
    return str(tokenizer.decode(encode(tokenizer, messages, tools).completion_ids[:-1], skip_special_tokens=True))


def sample_text(tokenizer: PreTrainedTokenizerBase, pair: Pair) -> str:
    """A pair as the model sees it in training: prompt with control tokens, target, end token.

    Control tokens that a user wrote look the same here, but are text to the model. Raises InputError as `encode` does.
    """
    chat = _Chat(_adapted(tokenizer, pair.prompt, pair.tools, target=pair.messages[-1]), pair.tools, [])
    return "".join([*_texts(tokenizer, chat), _end_token(tokenizer)])


def end_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends the assistant's turn: the first special one that the template puts after an answer.

    For Gemma that is <end_of_turn>, not the tokenizer's eos token, which is what counts where there is none.
    """
    return _response(tokenizer, str(tokenizer.chat_template), str(tokenizer.eos_token)).end


class _Response(NamedTuple):
    """What a template puts around a response to a question: white space before it, and the end token."""

    lead: str
    end: int


@lru_cache(maxsize=2)
def _response(tokenizer: PreTrainedTokenizerBase, _template: str, _eos: str) -> _Response:
    probe = "answer"
    chat: list[Message] = [{"role": "user", "content": "prompt"}, {"role": "assistant", "content": probe}]
    turns = _adapted(tokenizer, chat[:1], [], target=chat[1])
    prompt = render(tokenizer, turns[:-1], [], generate=True)
    before, _, after = render(tokenizer, turns, [], generate=False).rpartition(probe)
    special = set(tokenizer.all_special_ids)
    end = next((i for i in _tokenise(tokenizer, after, []) if i in special), tokenizer.eos_token_id)
    return _Response(_white(before.removeprefix(prompt)), end)


def _white(lead: str) -> str:
    return "" if lead.strip() else lead


def _end_token(tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.convert_ids_to_tokens(end_token_id(tokenizer)))


def _adapted(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[Message],
    tools: Sequence[Tool],
    *,
    target: Message | None = None,
) -> list[dict[str, Any]]:
    """The prompt as the template is given it, then the target; only the prompt decides how it is changed."""
    adapted = adaptations(tokenizer).of(prompt, tools).apply(prompt)
    return template_turns(adapted if target is None else [*adapted, target])


def _texts(tokenizer: PreTrainedTokenizerBase, chat: _Chat) -> tuple[str, str]:
    """The prompt of a chat, and its target as the model is to write it, without end token."""
    prompt = render(tokenizer, chat.turns[:-1], chat.tools, generate=True)
    whole = render(tokenizer, chat.turns, chat.tools, generate=False)
    answer, target = whole.removeprefix(prompt), chat.turns[-1]["content"]
    if "tool_calls" in chat.turns[-1]:
        if not whole.startswith(prompt):
            raise InputError("the local model's chat template puts tool calls outside the assistant turn", CHOOSE)
        return prompt, answer.rpartition(_end_token(tokenizer))[0] or answer.rstrip()
    if not whole.startswith(prompt):
        # Such as Mistral's, which puts the system prompt elsewhere once there is a response.
        response = _response(tokenizer, str(tokenizer.chat_template), str(tokenizer.eos_token))
        return prompt, response.lead + target
    return prompt, _white(answer[: max(0, answer.find(target))]) + target


def _quoted(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, Any]], tools: Sequence[Tool]) -> _Chat:
    """Put marks for control tokens that users wrote, so that they stay text.

    Only chats that hold such text are tokenised in pieces; all others give the tokens that any server would.
    """
    with template_errors():
        everything = "\n".join(_strings([turns, list(tools)]))
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    quoted = sorted((s for s in special | set(tokenizer.all_special_tokens) if s in everything), key=len, reverse=True)
    if not quoted:
        return _Chat(turns, list(tools), [])
    mark = next(mark for mark in _marks() if mark not in everything)
    pattern = re.compile("|".join(map(re.escape, quoted)))

    def quote(text: str) -> str:
        return pattern.sub(lambda match: f"{mark}{quoted.index(match[0])}{mark}", text)

    return _Chat(_mapped(turns, quote), _mapped(list(tools), quote), [mark, *quoted])


def _marks() -> Iterator[str]:
    """Texts that hardly anybody writes: of private characters, endlessly many."""
    yield from map(chr, range(0xE000, 0xF8FF))
    for length in count(1):
        yield "\ue000" + "\ue001" * length


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
