"""The end of a response: the token at which generation stops, found from how a chat template shows one question."""

from __future__ import annotations

from dataclasses import dataclass

from engine.local.control_tokens import ControlTokens
from engine.local.probed import ANSWER, CALL, CALL_ID, NAME, QUESTION, VALUE, Probed, common, shown


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a response: what the template writes up to its end token, that token, and what follows it.

    `text` is the token's text, "" where the template writes none and the eos token is taken.
    """

    id: int
    text: str = ""
    tail: str = ""
    rest: str = ""


def text_ending(probed: Probed, control: ControlTokens, eos: int) -> Ending:
    """The end of texts; `eos` is the token that ends a turn where the template has none."""
    after = probed.answered.rpartition(ANSWER)[2]
    turns = [*probed.question, {"role": "assistant", "content": ANSWER}, {"role": "user", "content": QUESTION}]
    continued = shown(probed.render, turns).rpartition(ANSWER)[2]
    return _ending(after, continued, probed.starts(control), control, eos)


def calls_ending(probed: Probed, control: ControlTokens, of_text: Ending) -> Ending:
    """The end of tool calls."""
    after = probed.called.rpartition(VALUE)[2]
    if not after or (of_text.text and of_text.text in after):
        return of_text
    result = {"role": "tool", "content": "result", "tool_call_id": CALL_ID, "name": NAME}
    continued = shown(probed.render, [*probed.question, CALL, result]).rpartition(VALUE)[2]
    found = _ending(after, continued, probed.starts(control), control, of_text.id)
    return found if found.text else of_text


def _ending(after: str, continued: str, starts: set[str], control: ControlTokens, eos: int) -> Ending:
    """The end token among what a template writes after a response, whether it is the last (`after`) or not.

    That is the eos token, or else the last control token, where both have it and it starts no response; or else the eos
    token or the first control token of the last response.
    """
    both = common(after, continued) if continued else after
    for tokens in (control.special, control.added):
        shared = [(place, token) for place, token in control.places(both, tokens) if token not in starts]
        last = control.places(after, tokens)
        found = _eos(control, shared) or shared[-1:] or _eos(control, last) or last[:1]
        for place, token in found:
            return Ending(tokens[token], token, after[:place], after[place + len(token) :])
    tail = both.rstrip()
    return Ending(eos, tail=tail, rest=after[len(tail) :])


def _eos(control: ControlTokens, places: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return [place for place in places if place[1] == control.eos][:1]
