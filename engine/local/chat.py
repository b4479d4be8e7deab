"""The one place where chats become tokens, and tokens answers: training, inference and export all use it.

Chats are first changed as the template needs it: see `adaptation`. A template's own text is changed only where it opens
a thinking block: see `frame`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.local import thinking
from engine.local.adaptation import adaptations
from engine.local.control_tokens import Quotes, quote
from engine.local.frame import Completion
from engine.local.rendering import rendering
from engine.local.template import CHOOSE, template_errors
from engine.local.turns import template_turns
from engine.protocol.errors import InputError
from engine.protocol.rows import Message, Pair, Tool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Encoded:
    """A pair in tokens: the prompt, and the completion to learn with its end token."""

    prompt_ids: list[int]
    completion_ids: list[int]


class Answer(NamedTuple):
    """What a model answered, and whether it wrote a thinking block first, which is cut."""

    text: str
    thought: bool


def encode(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Encoded:
    """A chat whose last message is the assistant's target; its prompt is the same as that of `encode_prompt`.

    The completion is what the template writes after the prompt, headers included, up to the token that ends the turn;
    only a thinking block in front is left out. Raises InputError where the template cannot show the chat, or leaves out
    a part of the target.
    """
    chat = _quoted(tokenizer, _adapted(tokenizer, messages[:-1], tools, target=messages[-1]), tools)
    prompt, completion = _whole(tokenizer, chat)
    ids = _continued(tokenizer, prompt, completion.text, chat.quotes)
    return Encoded(_tokenise(tokenizer, prompt, chat.quotes), [*ids, completion.end])


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], tools: Sequence[Tool] = ()
) -> list[int]:
    """The tokens that the model is given, up to where its answer starts. Raises InputError as `encode` does."""
    chat = _quoted(tokenizer, _adapted(tokenizer, prompt, tools), tools)
    text = rendering(tokenizer).text(chat.turns, chat.tools, generate=True)
    return _tokenise(tokenizer, text, chat.quotes)


def adapted_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], tools: Sequence[Tool] = ()
) -> list[Message]:
    """The chat as servers that render it must get it. Raises InputError as `encode` does."""
    return adaptations(tokenizer).of(prompt, tools).apply(prompt)


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
    """The text that the model is given, control tokens included. Raises InputError as `encode` does."""
    chat = _quoted(tokenizer, _adapted(tokenizer, prompt, tools), tools)
    return chat.quotes.restored(rendering(tokenizer).text(chat.turns, chat.tools, generate=True))


def reference(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
    """The target as the model's own answers are read: where it holds calls, in the form of the template."""
    return read_answer(tokenizer, encode(tokenizer, messages, tools).completion_ids[:-1]).text


def read_answer(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> Answer:
    """The answer in a completion without its end token.

    What the template starts a response with, where the model repeats it, and a thinking block are cut in front of it,
    then what the template writes before and behind each answer.
    """
    of, shown = rendering(tokenizer), _decode(tokenizer, ids)
    frame = of.frame(False)
    opened = len(frame.opening) if frame.opening and shown.startswith(frame.opening) else 0
    thought = thinking.written(shown[opened:], of.blocks, unopened=of.thinks)
    begin = opened + thought
    space = len(shown[begin:]) - len(shown[begin:].lstrip()) if thought else 0
    places = (begin, begin + space)
    leads = (at + len(frame.lead) for at in places if frame.lead and shown.startswith(frame.lead, at))
    start = next(leads, begin + space)
    tail = frame.ending.tail
    end = len(shown) - len(tail) if tail and shown.endswith(tail) else len(shown)
    if not start and end == len(shown):
        return Answer(_decode(tokenizer, ids, bare=True), thought=False)
    return Answer(_between(tokenizer, ids, start, max(start, end)), thought=bool(thought))


def read_text(tokenizer: PreTrainedTokenizerBase, text: str) -> Answer:
    """An answer as a server gives it, without control tokens: a thinking block in front of it is cut."""
    of = rendering(tokenizer)
    return Answer(*thinking.without(text, of.blocks, unopened=of.thinks))


def sample_text(tokenizer: PreTrainedTokenizerBase, pair: Pair) -> str:
    """A pair as the model sees it in training: prompt with control tokens, target, end token.

    Control tokens that a user wrote look the same here, but are text to the model. Raises InputError as `encode` does.
    """
    turns = _adapted(tokenizer, pair.prompt, pair.tools, target=pair.messages[-1])
    chat = _quoted(tokenizer, turns, pair.tools)
    prompt, completion = _whole(tokenizer, chat)
    return chat.quotes.restored(prompt + completion.text) + str(tokenizer.convert_ids_to_tokens(completion.end))


def end_token_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens at which a response ends, as the template writes it: for Gemma <end_of_turn>, not the eos token.

    That is the end of texts, and that of tool calls where it is another; the eos token where the template writes none.
    """
    return rendering(tokenizer).ends


@dataclass(frozen=True)
class _Chat:
    """A chat as templates take it; marks stand for the control tokens that users wrote."""

    turns: list[dict[str, Any]]
    tools: list[Tool]
    quotes: Quotes


def _adapted(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[Message],
    tools: Sequence[Tool],
    *,
    target: Message | None = None,
) -> list[dict[str, Any]]:
    """The prompt as the template is given it, then the target; only the prompt decides how it is changed.

    The thought that a target begins with is cut here: no two templates have it alike.
    """
    adapted = adapted_prompt(tokenizer, prompt, tools)
    if target is None:
        return template_turns(adapted)
    said = target["content"]
    # A call counts as words behind the thought.
    cut = thinking.head(said + ("." if "tool_calls" in target else ""), rendering(tokenizer).blocks)
    return template_turns([*adapted, {**target, "content": said[cut:].lstrip()} if cut else target])


def _quoted(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, Any]], tools: Sequence[Tool]) -> _Chat:
    """Put marks for control tokens and thinking tags that users wrote, so that they stay text and no template acts on
    them; only a thought in front of an earlier response is left to the template.

    Only chats that hold control tokens are tokenised in pieces; all others give the tokens that any server would.
    """
    shown = rendering(tokenizer)
    blocks = shown.blocks
    tags = {tag for block in blocks for text in (block.opening, block.closing) if (tag := text.strip())}
    said = {turn["content"] for turn in turns if turn["role"] == "assistant"}

    def thought(text: str) -> int:
        return thinking.head(text, blocks) if text in said else 0

    with template_errors():
        (turns, tools), quotes = quote(shown.control, [turns, list(tools)], tags, thought)
    return _Chat(turns, list(tools), quotes)


def _whole(tokenizer: PreTrainedTokenizerBase, chat: _Chat) -> tuple[str, Completion]:
    """The prompt, and the target as the model is to write it. Raises InputError where that is not all of the target."""
    prompt, completion = adaptations(tokenizer).texts(chat.turns, chat.tools)
    if str(chat.turns[-1]["content"]).strip() not in completion.text:
        raise InputError("the local model's chat template leaves out a part of this response", CHOOSE)
    return prompt, completion


def _tokenise(tokenizer: PreTrainedTokenizerBase, text: str, quotes: Quotes) -> list[int]:
    ids: list[int] = []
    for piece, literal in quotes.pieces(text):
        if literal:
            ids += tokenizer(piece, add_special_tokens=False, split_special_tokens=True).input_ids
        else:
            ids += tokenizer(piece, add_special_tokens=False).input_ids
    return ids


def _continued(tokenizer: PreTrainedTokenizerBase, prompt: str, text: str, quotes: Quotes) -> list[int]:
    """The tokens of a text that follows a prompt.

    They are those of both together, since some tokenizers start each text with a space; not where a token would reach
    over the end of the prompt, where the model starts to write. Text before a control token changes none behind it.
    """
    control = rendering(tokenizer).control
    end = prompt[-_NEAR:]
    places = control.places(end, control.special)
    before = end[places[-1][0] :] if places else prompt
    asked, whole = (_tokenise(tokenizer, part, quotes) for part in (before, before + text))
    if whole[: len(asked)] == asked:
        return whole[len(asked) :]
    return _tokenise(tokenizer, text, quotes)


_NEAR = 200
"""The characters at the end of a prompt in which its last control token is looked for."""


def _decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], *, bare: bool = False) -> str:
    """The text of tokens; with `bare` without control tokens."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=bare))


def _between(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], start: int, end: int) -> str:
    """The text of tokens from one character to another, of their text with control tokens, but without these."""
    shown = _decode(tokenizer, ids)
    first, last = (_reaching(tokenizer, ids, shown[:place]) for place in (start, end))
    before = _decode(tokenizer, ids[:first])
    text = before[start:] + _decode(tokenizer, ids[first:last], bare=True)
    over = len(_decode(tokenizer, ids[:last])) - end
    return text[: len(text) - over] if over > 0 else text


def _reaching(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], text: str) -> int:
    """The fewest tokens whose text begins with this one; texts grow with their tokens, so halving finds them.

    A token may hold a part of a character, which is shown as another one until the rest of it follows.
    """
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        if _decode(tokenizer, ids[:middle]).startswith(text):
            high = middle
        else:
            low = middle + 1
    return low
