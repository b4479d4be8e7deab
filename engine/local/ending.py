"""The end of a response: the token at which generation stops, found from how a chat template shows one question."""

from __future__ import annotations

from dataclasses import dataclass

from engine.local.control_tokens import ControlTokens
from engine.local.probed import ANSWER, CALL, CALL_ID, NAME, QUESTION, VALUE, Probed, common, shown


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a response: what the template writes up to its end token, that token, and what follows it.

    `text` is the token's text, "" where the template writes none and the eos token is taken. The last response of a
    chat lacks tail and token where `later` is true: they are written once another turn follows.
    """

    id: int
    text: str = ""
    tail: str = ""
    rest: str = ""
    later: bool = False


def text_ending(probed: Probed, control: ControlTokens, eos: int) -> Ending:
    """The end of texts; `eos` is the token that ends a turn where the template has none."""
    after = probed.answered.rpartition(ANSWER)[2]
    turns = [*probed.question, {"role": "assistant", "content": ANSWER}, {"role": "user", "content": QUESTION}]
    continued = shown(probed.render, turns).rpartition(ANSWER)[2]
    found = _ending(after, continued, probed.starts(control), set(), control, eos)
    return found if found.text else _later(probed, after, continued, control) or found


def calls_ending(probed: Probed, control: ControlTokens, of_text: Ending) -> Ending:
    """The end of tool calls."""
    after = probed.called.rpartition(VALUE)[2]
    if not after or (of_text.text and of_text.text in after):
        return of_text
    result = {"role": "tool", "content": "result", "tool_call_id": CALL_ID, "name": NAME}
    continued = shown(probed.render, [*probed.question, CALL, result]).rpartition(VALUE)[2]
    found = _ending(after, continued, probed.starts(control), probed.inner(control), control, of_text.id)
    return found if found.text else of_text


def _ending(after: str, continued: str, starts: set[str], inner: set[str], control: ControlTokens, eos: int) -> Ending:
    """The end token among what a template writes after a response, whether it is the last (`after`) or not.

    That is the eos token, or else the last control token, where both have it and it starts no response; or else the eos
    token or the first control token of the last response. None that is `inner` to responses ends one.
    """
    both = common(after, continued) if continued else after
    for tokens in (control.special, control.added):
        shared = [(place, token) for place, token in control.places(both, tokens) if token not in starts | inner]
        last = [(place, token) for place, token in control.places(after, tokens) if token not in inner]
        found = _eos(control, shared) or shared[-1:] or _eos(control, last) or last[:1]
        for place, token in found:
            return Ending(tokens[token], token, after[:place], after[place + len(token) :])
    tail = both.rstrip()
    return Ending(eos, tail=tail, rest=after[len(tail) :])


def _later(probed: Probed, after: str, continued: str, control: ControlTokens) -> Ending | None:
    """The end that a template writes once another turn follows: the first control token there, if it is no header.

    A header also stands before the first question, and users' turns end by another token.
    """
    behind = continued.partition(QUESTION)[0]
    for place, token in control.places(behind, control.added)[:1]:
        header = probed.prompt.partition(QUESTION)[0].endswith(behind[place:])
        of_user = control.places(probed.prompt[probed.asked :], control.added)[:1]
        if not header or token in {end for _, end in of_user}:
            return Ending(control.added[token], token, behind[:place], after, later=True)
    return None


def _eos(control: ControlTokens, places: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return [place for place in places if place[1] == control.eos][:1]
