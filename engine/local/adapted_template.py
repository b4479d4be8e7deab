"""The changes of chats that a template needs (`engine.local.adaptation`) as a text in front of the template.

Training and judging change a chat before the template gets it; a server gives it the chat as it came. So a released
template begins with the same change, written in Jinja: the steps of `engine.local.chat_plan`, one block each.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from itertools import product

from engine.local.adaptation import Adaptations
from engine.local.chat_plan import (
    ATTEMPTS,
    Plan,
    Step,
    changed,
    fold_later_systems,
    fold_systems,
    join,
    join_systems,
    open_by_system,
    open_by_user,
    unchanged,
)
from engine.local.chat_shape import Mark, Shape

Steps = tuple[Step, ...]

PROBED = 3
"""Turns of the chats that data may lack and clients send: of the changes that fit the data, one fits most of these."""

LATER = 16
"""Turns of a chat whose change is chosen by its roles; a longer one is not named in a template."""


def adapting(adaptations: Adaptations, shapes: Collection[Shape], *, tools: bool) -> str:
    """The text in front of a template for chats such as these; "" where it shows them all as they are.

    One change for all chats, the one that is right for most of them; where it is wrong for some of `shapes`, theirs by
    their roles. Chats that no change fits are left out.
    """
    wanted = {shape: plan for shape in shapes if (plan := _plan(adaptations, shape, tools)) is not None}
    if all(plan == unchanged(shape) for shape, plan in wanted.items()):
        return ""
    others = {shape: _plan(adaptations, shape, tools) for shape in _probes() if shape not in wanted}

    def fits(steps: Steps) -> tuple[int, int]:
        right = sum(changed(shape, steps) == plan for shape, plan in wanted.items())
        return right, sum(changed(shape, steps) == plan for shape, plan in others.items())

    usual = max(ATTEMPTS, key=fits)  # the smallest of those that are right as often
    special: dict[Steps, set[str]] = {}
    for shape, plan in wanted.items():
        if changed(shape, usual) != plan and len(shape) <= LATER:
            own = next(steps for steps in ATTEMPTS if changed(shape, steps) == plan)
            special.setdefault(own, set()).add(" ".join(mark.role for mark in shape))
    return "".join(f"{line}\n" for line in _lines(usual, special))


def _plan(adaptations: Adaptations, shape: Shape, tools: bool) -> Plan | None:
    """How training changes chats of a shape; None where nothing fits."""
    found = adaptations.find(shape, tools)
    if found.problem:
        return None
    return unchanged(shape) if found.plan is None else found.plan


def _probes() -> Iterator[Shape]:
    for length in range(1, PROBED + 1):
        for roles in product(("system", "user", "assistant"), repeat=length):
            yield tuple(Mark(role, True) for role in roles)


def _lines(usual: Steps, special: dict[Steps, set[str]]) -> Iterator[str]:
    if not special:
        yield from _written(usual)
        return
    yield "{% set given_roles = messages | map(attribute='role') | join(' ') %}"
    word = "if"
    for steps, roles in special.items():
        yield f"{{% {word} given_roles in {json.dumps(sorted(roles))} %}}"
        yield from _written(steps)
        word = "elif"
    yield "{% else %}"
    yield from _written(usual)
    yield "{% endif %}"


def _written(steps: Sequence[Step]) -> Iterator[str]:
    for step in steps:
        yield from WRITTEN[step].splitlines()


def _text(turn: str) -> str:
    """The text of a turn, which servers may give in parts, or as none."""
    parts = f"({turn}.content or []) | map(attribute='text') | join"
    return f"({turn}.content if {turn}.content is string else {parts})"


def _both(one: str, other: str) -> str:
    """Two texts, a blank line between them; one without words is left out."""
    return f"({one} ~ '\\n\\n' ~ {other} if {one} | trim and {other} | trim else {one} if {one} | trim else {other})"


def _join(roles: Sequence[str]) -> str:
    """Neighbouring turns of one of these roles as one; what follows a call stays apart."""
    return f"""{{% set adapted = namespace(turns=[], last=none) %}}
{{% for turn in messages %}}
{{% set neighbours = adapted.last and adapted.last.role == turn.role and not adapted.last.tool_calls %}}
{{% if neighbours and turn.role in {json.dumps(list(roles))} %}}
{{% set before = {_text("adapted.last")} %}}{{% set behind = {_text("turn")} %}}
{{% set calls = turn.tool_calls %}}
{{% set turn = dict(adapted.last, content={_both("before", "behind")}) %}}
{{% if calls %}}{{% set turn = dict(turn, tool_calls=calls) %}}{{% endif %}}
{{% set adapted.turns = adapted.turns[:-1] %}}
{{% endif %}}
{{% set adapted.turns = adapted.turns + [turn] %}}{{% set adapted.last = turn %}}
{{% endfor %}}
{{% set messages = adapted.turns %}}"""


_PLACE = f"""{{% if adapted.turns and adapted.turns[-1].role == 'user' %}}
{{% set before = {_text("adapted.turns[-1]")} %}}
{{% set adapted.turns = adapted.turns[:-1] + [dict(adapted.turns[-1], content={_both("before", "adapted.text")})] %}}
{{% else %}}
{{% set adapted.turns = adapted.turns + [{{'role': 'user', 'content': adapted.text}}] %}}
{{% endif %}}"""


def _fold(start: int) -> str:
    """System prompts from turn `start` on in front of the user turn that follows, else behind the one before."""
    return f"""{{% set adapted = namespace(turns=[], text='', held=false) %}}
{{% for turn in messages %}}
{{% if turn.role == 'system' and loop.index0 >= {start} %}}
{{% set own = {_text("turn")} %}}
{{% set adapted.text = {_both("adapted.text", "own")} if adapted.held else own %}}{{% set adapted.held = true %}}
{{% else %}}
{{% if adapted.held and turn.role == 'user' %}}
{{% set own = {_text("turn")} %}}
{{% set turn = dict(turn, content={_both("adapted.text", "own")}) %}}
{{% elif adapted.held %}}
{_PLACE}
{{% endif %}}
{{% set adapted.held = false %}}
{{% set adapted.turns = adapted.turns + [turn] %}}
{{% endif %}}
{{% endfor %}}
{{% if adapted.held %}}
{_PLACE}
{{% endif %}}
{{% set messages = adapted.turns %}}"""


_OPEN_BY_USER = """{% set adapted = namespace(turns=[], begun=false) %}
{% for turn in messages %}
{% if turn.role == 'assistant' and not adapted.begun %}
{% set adapted.turns = adapted.turns + [{'role': 'user', 'content': ''}] %}
{% endif %}
{% if turn.role != 'system' %}{% set adapted.begun = true %}{% endif %}
{% set adapted.turns = adapted.turns + [turn] %}
{% endfor %}
{% set messages = adapted.turns %}"""

_OPEN_BY_SYSTEM = """{% if not messages or messages[0].role != 'system' %}
{% set messages = [{'role': 'system', 'content': ''}] + messages %}
{% endif %}"""

WRITTEN: dict[Step, str] = {
    join: _join(("system", "user", "assistant")),
    join_systems: _join(("system",)),
    fold_later_systems: _fold(1),
    fold_systems: _fold(0),
    open_by_user: _OPEN_BY_USER,
    open_by_system: _OPEN_BY_SYSTEM,
}
"""Each step in Jinja, without loops over contents, by which servers guess whether a template wants them in parts."""
