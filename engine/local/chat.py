"""The one place where chats become tokens: training, inference and export all come here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from engine.errors import InputError
from engine.rows import Message


@dataclass(frozen=True)
class Encoded:
    """A pair in tokens: what the model is given, and what it should say, its end token included."""

    prompt_ids: list[int]
    completion_ids: list[int]


def encode(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> Encoded:
    """A chat whose last message is the assistant's target; its prompt is as `encode_prompt` has it.

    The completion is the target with the white space that the template puts before it and exactly one end token.
    Where a template renders past answers in another way than new ones (thinking blocks, trimming), the target itself
    is taken, for that is what the model must say after the prompt. Raises InputError where the template refuses.
    """
    marked, quoted = _quote_special(tokenizer, messages)
    prompt = _render(tokenizer, marked[:-1], add_generation_prompt=True)
    answer = _render(tokenizer, marked, add_generation_prompt=False).removeprefix(prompt)
    target = marked[-1]["content"]
    lead = answer[: max(0, answer.find(target))]
    completion = target if lead.strip() else lead + target
    return Encoded(
        _tokenise(tokenizer, prompt, quoted), [*_tokenise(tokenizer, completion, quoted), end_token_id(tokenizer)]
    )


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message]) -> list[int]:
    """The tokens that the model is given, up to where its answer starts. Raises InputError as `encode` does."""
    marked, quoted = _quote_special(tokenizer, prompt)
    return _tokenise(tokenizer, _render(tokenizer, marked, add_generation_prompt=True), quoted)


def end_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends the assistant's turn: the first special one that the template puts after an answer.

    For Gemma that is <end_of_turn>, not the tokenizer's eos token, which is what counts where there is none.
    """
    probe = "answer"
    chat: list[Message] = [{"role": "user", "content": "prompt"}, {"role": "assistant", "content": probe}]
    after = _render(tokenizer, chat, add_generation_prompt=False).rpartition(probe)[2]
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


def _quote_special(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> tuple[list[Message], list[str]]:
    """Put marks for control tokens that users wrote, so that they stay text: (messages, what the marks stand for).

    Only chats that hold such text are tokenised in pieces; all others give the tokens that any server would.
    """
    everything = "".join(message["content"] for message in messages)
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    quoted = sorted((s for s in special | set(tokenizer.all_special_tokens) if s in everything), key=len, reverse=True)
    if not quoted:
        return list(messages), []
    mark = next(chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in everything)
    pattern = re.compile("|".join(map(re.escape, quoted)))

    def quote(match: re.Match[str]) -> str:
        return f"{mark}{quoted.index(match[0])}{mark}"

    marked: list[Message] = [{"role": m["role"], "content": pattern.sub(quote, m["content"])} for m in messages]
    return marked, [mark, *quoted]


def _render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], add_generation_prompt: bool) -> str:
    try:
        text = tokenizer.apply_chat_template(
            [{"role": m["role"], "content": m["content"]} for m in messages],
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
    except TemplateError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the local model's chat template refuses this chat: {reason}",
            "use only roles that the model knows (some know no system role), or choose another model",
        ) from None
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
