"""What a chat template puts around a response, found from how it shows one question, its answer, a thought and a call.

prompt     ... <|im_start|>assistant\\n<think>\\n     a thinking block is left open: `Opened` closes it
lead       <|channel|>final<|message|>              learned with the answer, and cut from the model's own
block      <think>\\n\\n</think>\\n\\n                   a thinking block before the answer: not learned
tail, end  <|END_RESPONSE|><|END_OF_TURN_TOKEN|>    learned; generation stops at the last
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from engine.local import thinking
from engine.local.control_tokens import ControlTokens
from engine.local.thinking import Block
from engine.protocol.errors import InputError

QUESTION, ANSWER, THOUGHT, NAME, VALUE = "Qprobe1", "Zprobe2", "Xprobe3", "probe4", "Wprobe5"
REASONING = ("reasoning_content", "thinking", "reasoning")
"""The fields of a message in which templates look for a thought."""

OPEN = "the local model's chat template starts responses with a thinking block and shows no way to close it"

Turns = list[dict[str, Any]]


class Render(Protocol):
    """Renders turns by a template, with further arguments. Raises InputError where the template refuses them."""

    def __call__(self, turns: Turns, *, generate: bool, **arguments: Any) -> str: ...


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a response: what the template writes up to its end token, that token, and what follows it.

    `text` is the token's text, "" where the template writes none and the eos token is taken.
    """

    id: int
    text: str = ""
    tail: str = ""
    rest: str = ""


class Completion(NamedTuple):
    """What a model is to write after a prompt: text, then the token that ends its turn."""

    text: str
    end: int


@dataclass(frozen=True, slots=True)
class Frame:
    """What is around a response: a `header` behind the question, then the `residue`, which prompts alone show there.

    Where prompts end in `opened`, a thinking block, `closed` takes its place; a `problem` says why nothing can.
    `ending` is that of texts, `calls_ending` that of tool calls. `blocks` are the thinking blocks that its answers may
    begin with; the model `thinks` if the template or the vocabulary names one. Nothing is `shown` where the template
    refuses the simplest chat.
    """

    ending: Ending
    calls_ending: Ending
    shown: bool = True
    opened: str = ""
    closed: str = ""
    problem: str = ""
    header: str = ""
    residue: str = ""
    block: str = ""
    lead: str = ""
    blocks: tuple[Block, ...] = (thinking.THINK,)
    thinks: bool = False

    def prompt(self, text: str) -> str:
        """A prompt with its thinking block closed. Raises InputError where that cannot be done."""
        if not self.opened or not text.endswith(self.opened):
            return text
        if self.problem:
            raise InputError(
                self.problem, "choose an instruct model in local.model, or set local.template as its model card says"
            )
        return text.removesuffix(self.opened) + self.closed

    def completion(self, prompt: str, whole: str, *, calls: bool) -> Completion | None:
        """What follows the prompt in a chat that ends in a response; None where the chat starts otherwise.

        `prompt` is the template's own, its thinking block still open.
        """
        stems = [prompt]
        if self.residue and prompt.endswith(self.residue):
            stems.append(prompt.removesuffix(self.residue))
        stem = next((stem for stem in stems if whole.startswith(stem)), None)
        _, question, behind = whole.partition(QUESTION)
        if stem is None and question and self.header in behind:
            # A template that shows the last question of a prompt in a way of its own: the header is all that is alike.
            stem = whole.removesuffix(behind.partition(self.header)[2])
        if stem is None:
            return None
        rest = whole[len(stem) :]
        if stem == prompt and self.opened and prompt.endswith(self.opened):
            rest = rest.removeprefix(self.closed.removeprefix(self.opened))
        text, end = self._ended(rest, self.calls_ending if calls else self.ending)
        if self.block and text.startswith(self.block):
            text = text.removeprefix(self.block)
        elif 0 < (cut := thinking.length(text, self.blocks)) < len(text.rstrip()):
            text = text[cut:].lstrip()
        return Completion(text, end)

    def _ended(self, rest: str, ending: Ending) -> Completion:
        if ending.text and rest.endswith(ending.text + ending.rest):
            return Completion(rest.removesuffix(ending.text + ending.rest), ending.id)
        start = len(self.lead) if rest.startswith(self.lead) else 0
        if ending.text and (place := rest.find(ending.text, start)) >= 0:
            return Completion(rest[:place], ending.id)
        if ending.rest and rest.endswith(ending.tail + ending.rest):
            return Completion(rest.removesuffix(ending.rest), ending.id)
        return Completion(rest.rstrip(), ending.id)


def find_frame(render: Render, control: ControlTokens, eos: int, literals: Callable[[], str]) -> Frame:
    """The frame of a template. `literals` are its own texts; `eos` is the token that ends a turn where it has none."""
    probed = _Probed.of(render)
    if probed is None:
        return Frame(Ending(eos), Ending(eos), shown=False)
    written = "\0".join([literals(), *control.added])
    known = thinking.blocks(written)
    known = tuple(dict.fromkeys([*probed.blocks(known), *known]))
    opened, closed = _closed(probed, known, written)
    lead = probed.lead
    if opened and probed.is_prefix:
        lead = lead.removeprefix((closed or "").removeprefix(opened))
    residue = probed.residue
    cut = thinking.length(lead, known)
    block = lead[: len(lead) - len(lead[cut:].lstrip())] if cut else ""
    if residue and not opened and not thinking.TAG.search(residue):
        # Prompts have a header of their own, which the answered chat has in another form.
        block = lead
    ending = probed.ending(control, eos)
    return Frame(
        ending=ending,
        calls_ending=probed.calls_ending(control, ending),
        opened=opened,
        closed=closed or "",
        problem=OPEN if opened and closed is None else "",
        header=probed.prompt[probed.asked : probed.stem],
        residue=residue,
        block=block,
        lead=lead.removeprefix(block),
        blocks=(*(block for block in known if block != thinking.THINK), thinking.THINK),
        thinks=bool(known),
    )


@dataclass(frozen=True)
class _Probed:
    """One question as a template shows it: the prompt, the prompt that it shares with the answered chat, and these.

    `thoughtful` has a thought before the answer, "" where the template shows none.
    """

    render: Render
    question: Turns
    prompt: str
    answered: str
    thoughtful: str

    @classmethod
    def of(cls, render: Render) -> _Probed | None:
        """None where the template shows no question with an answer."""
        user = {"role": "user", "content": QUESTION}
        for question in ([user], [{"role": "system", "content": ""}, user], [{"role": "system", "content": "s"}, user]):
            prompt = _text(render, question, generate=True)
            answered = _text(render, [*question, {"role": "assistant", "content": ANSWER}])
            if prompt and ANSWER in answered:
                return cls(render, question, prompt, answered, _thoughtful(render, question))
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
        common = _common(self.prompt, self.answered)
        if len(common) < self.asked:
            return self.asked + len(_common(self.prompt[self.asked :], self._behind_question))
        tag = thinking.unclosed(common[self.asked :])
        return len(common) if tag is None else self.asked + tag

    @property
    def residue(self) -> str:
        return self.prompt[self.stem :]

    @property
    def lead(self) -> str:
        """What the answered chat has between the prompt, or what it shows of it, and the answer."""
        start = len(self.prompt) if self.is_prefix else self.stem
        return self._behind_question[start - self.asked :]

    @property
    def _behind_question(self) -> str:
        """What the answered chat has between the question and the answer."""
        return self.answered.partition(ANSWER)[0].rpartition(QUESTION)[2]

    @property
    def before_thought(self) -> str:
        return self.thoughtful.partition(THOUGHT)[0]

    @property
    def after_thought(self) -> str:
        """What closes a thought before an answer and before a call alike."""
        before_answer = self.thoughtful.partition(THOUGHT)[2].partition(ANSWER)[0]
        call = _text(self.render, [*self.question, {**_CALL, **dict.fromkeys(REASONING, THOUGHT)}])
        before_call = call.partition(THOUGHT)[2].partition(NAME)[0]
        common = _common(before_answer, before_call) if before_call else before_answer
        return common if common.strip() else before_answer

    def blocks(self, known: Sequence[Block]) -> Iterator[Block]:
        """The block in which the template puts thoughts, where the prompt doesn't open it."""
        stem = self.prompt[: self.stem]
        if self.thoughtful and self.before_thought.startswith(stem):
            between = self.thoughtful.partition(THOUGHT)[2].partition(ANSWER)[0]
            lead = self.lead[cut:].lstrip() if (cut := thinking.length(self.lead, known)) else self.lead
            block = Block(self.before_thought[len(stem) :], between.removesuffix(lead) if lead else between)
            if block.opening.strip() and block.closing.strip():
                yield block

    def ending(self, control: ControlTokens, eos: int) -> Ending:
        after = self.answered.rpartition(ANSWER)[2]
        turns = [*self.question, {"role": "assistant", "content": ANSWER}, {"role": "user", "content": QUESTION}]
        continued = _text(self.render, turns).rpartition(ANSWER)[2]
        return _ending(after, continued, self._starts(control), control, eos)

    def calls_ending(self, control: ControlTokens, of_text: Ending) -> Ending:
        turns = [*self.question, _CALL]
        after = _text(self.render, turns).rpartition(VALUE)[2]
        if not after or (of_text.text and of_text.text in after):
            return of_text
        result = {"role": "tool", "content": "result", "tool_call_id": _CALL_ID, "name": NAME}
        continued = _text(self.render, [*turns, result]).rpartition(VALUE)[2]
        found = _ending(after, continued, self._starts(control), control, of_text.id)
        return found if found.text else of_text

    def _starts(self, control: ControlTokens) -> set[str]:
        """The control tokens that start a response: those that the prompt has and the question alone has not.

        Where a template always starts a response, those after the first behind the question, which ends its turn.
        """
        history = _text(self.render, self.question)
        start = max(self.asked, len(_common(self.prompt, history)))
        if start < len(self.prompt):
            return {token for _, token in control.places(self.prompt[start:], control.added)}
        return {token for _, token in control.places(self.prompt[self.asked :], control.added)[1:]}


_CALL_ID = "call00001"
_CALL: dict[str, Any] = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": _CALL_ID, "type": "function", "function": {"name": NAME, "arguments": {"key": VALUE}}},
    ],
}


def _thoughtful(render: Render, question: Turns) -> str:
    """The answered question with a thought before the answer, "" where no field and no argument shows it."""
    for arguments in ({}, {"enable_thinking": True, "thinking": True}):
        for field in REASONING:
            turn = {"role": "assistant", "content": ANSWER, field: THOUGHT}
            text = _text(render, [*question, turn], **arguments)
            if 0 <= text.find(THOUGHT) < text.find(ANSWER):
                return text
    return ""


def _closed(probed: _Probed, known: Sequence[Block], literals: str) -> tuple[str, str | None]:
    """The open thinking block that prompts end in, and what takes its place: None where nothing is known to close it.

    The ways, in this order: as a thought is closed, as the answered chat closes the block, as a text in the template
    does, or by its closing tag with the white space that the block starts with.
    """
    prompt, tag = probed.prompt, thinking.unclosed(probed.prompt[probed.asked :])
    head = probed.before_thought
    continues = bool(head) and head.rstrip() == prompt.rstrip()
    if tag is None:
        introduced = bool(head) and head.rstrip() == prompt[: probed.stem].rstrip() and bool(probed.residue.strip())
        if introduced and probed.after_thought.strip() not in probed.residue:
            return probed.residue, probed.residue + probed.after_thought
        if continues and probed.lead.strip() and probed.lead.strip() == _before_answer(probed.thoughtful).strip():
            opened = prompt[probed.asked :]
            return opened, opened + probed.after_thought
        return "", None
    opened = prompt[probed.asked + tag :]
    if continues:
        return opened, opened + head[len(prompt) :] + probed.after_thought
    if cut := thinking.length(probed.lead, known, unopened=True):
        shown = probed.lead[: len(probed.lead) - len(probed.lead[cut:].lstrip())]
        return opened, opened + shown if probed.is_prefix else shown
    marker = "".join(match[0] for match in [thinking.TAG.match(opened)] if match)
    for twin in thinking.twins(marker):
        if written := re.search(re.escape(marker) + r"\s*" + re.escape(twin), literals):
            return opened, written[0]
        if twin in literals:
            behind = opened[len(marker) :]
            space = behind[: len(behind) - len(behind.lstrip())]
            before = opened.rstrip() if behind.strip() else opened
            return opened, before + space + twin + 2 * space
    return opened, None


def _before_answer(thoughtful: str) -> str:
    return thoughtful.partition(THOUGHT)[2].partition(ANSWER)[0]


def _ending(after: str, continued: str, starts: set[str], control: ControlTokens, eos: int) -> Ending:
    """The end token among what a template writes after a response, whether it is the last (`after`) or not.

    That is the eos token, or else the last control token, where both have it and it starts no response; or else the eos
    token or the first control token of the last response.
    """
    common = _common(after, continued) if continued else after
    for tokens in (control.special, control.added):
        shared = [(place, token) for place, token in control.places(common, tokens) if token not in starts]
        last = control.places(after, tokens)
        found = _eos(control, shared) or shared[-1:] or _eos(control, last) or last[:1]
        for place, token in found:
            return Ending(tokens[token], token, after[:place], after[place + len(token) :])
    tail = common.rstrip()
    return Ending(eos, tail=tail, rest=after[len(tail) :])


def _eos(control: ControlTokens, places: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return [place for place in places if place[1] == control.eos][:1]


def _common(one: str, other: str) -> str:
    """What both texts start with."""
    length = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return one[: min(len(one), len(other)) if length is None else length]


def _text(render: Render, turns: Turns, *, generate: bool = False, **arguments: Any) -> str:
    """The text of turns, "" where the template refuses them."""
    try:
        return render(turns, generate=generate, **arguments)
    except InputError:
        return ""
