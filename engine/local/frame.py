"""What a chat template puts around a response, found from how it shows one question, its answer, a thought and a call.

prompt     ... <|im_start|>assistant\\n<think>\\n     a thinking block is left open: `Opened` closes it
lead       <|channel|>final<|message|>              learned with the answer, and cut from the model's own
block      <think>\\n\\n</think>\\n\\n                   a thinking block before the answer: not learned
tail, end  <|END_RESPONSE|><|END_OF_TURN_TOKEN|>    learned; generation stops at the last
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.local import thinking
from engine.local.control_tokens import ControlTokens
from engine.local.ending import Ending, calls_ending, text_ending
from engine.local.probed import QUESTION, Probed, Render
from engine.local.thinking import Block
from engine.protocol.errors import InputError

OPEN = "the local model's chat template starts responses with a thinking block and shows no way to close it"


class Completion(NamedTuple):
    """What a model is to write after a prompt: text, then the token that ends its turn."""

    text: str
    end: int


@dataclass(frozen=True, slots=True)
class Frame:
    """What is around a response: a `header` behind the question, then the `residue`, which prompts alone show there.

    Prompts show responses to start by `opening`, "" where no control token is in it.
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
    opening: str = ""
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
        if ending.later:
            return Completion(rest.removesuffix(ending.rest) + ending.tail, ending.id)
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
    probed = Probed.of(render)
    if probed is None:
        return Frame(Ending(eos), Ending(eos), shown=False)
    # Templates may put tags together, so that only what they show has them whole.
    written = "\0".join([literals(), *control.added, probed.prompt, probed.answered, probed.thoughtful.text])
    known = thinking.blocks(written)
    known = tuple(dict.fromkeys([*probed.blocks(known), *known]))
    opened, closed = _closed(probed, known, written)
    if opened and closed and not thinking.TAG.search(opened):
        known = (Block(opened.strip(), closed.removeprefix(opened).strip(), in_words=True), *known)
    block, lead = _lead(probed, known, opened, closed or "")
    ending = text_ending(probed, control, eos)
    return Frame(
        ending=ending,
        calls_ending=calls_ending(probed, control, ending),
        opened=opened,
        closed=closed or "",
        problem=OPEN if opened and closed is None else "",
        header=probed.prompt[probed.asked : probed.stem],
        opening=probed.opening if control.places(probed.opening, control.added) else "",
        residue=probed.residue,
        block=block,
        lead=lead,
        blocks=(*(block for block in known if block != thinking.THINK), thinking.THINK),
        thinks=bool(known),
    )


def _lead(probed: Probed, known: Sequence[Block], opened: str, closed: str) -> tuple[str, str]:
    """The thinking block before the answer, and what is behind it: no part of the answer either, but learned."""
    lead = probed.lead
    if opened and probed.is_prefix:
        lead = lead.removeprefix(closed.removeprefix(opened))
    cut = thinking.length(lead, known, unopened=True)
    block = lead[: len(lead) - len(lead[cut:].lstrip())] if cut else ""
    if probed.residue and not opened and not thinking.TAG.search(probed.residue):
        # Prompts have a header of their own, which the answered chat has in another form.
        block = lead
    return block, lead.removeprefix(block)


def _closed(probed: Probed, known: Sequence[Block], literals: str) -> tuple[str, str | None]:
    """The open thinking block that prompts end in, and what takes its place: None where nothing is known to close it.

    The ways, in this order: as a thought is closed, as the answered chat closes the block, as a text in the template
    does, or by its closing tag with the white space that the block starts with.
    """
    prompt, tag = probed.prompt, thinking.unclosed(probed.prompt[probed.asked :])
    head = probed.thoughtful.before
    continues = bool(head) and head.rstrip() == prompt.rstrip()
    if tag is None:
        introduced = bool(head) and head.rstrip() == prompt[: probed.stem].rstrip() and bool(probed.residue.strip())
        if introduced and probed.after_thought.strip() not in probed.residue:
            return probed.residue, probed.residue + probed.after_thought
        if continues and probed.lead.strip() and probed.lead.strip() == probed.thoughtful.behind.strip():
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
