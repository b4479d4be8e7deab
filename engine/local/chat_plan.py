"""The changes to a chat's turns that may make it fit a chat template, and the order in which they are tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.local.chat_shape import Shape
from engine.protocol.rows import Message


class Turn(NamedTuple):
    """A turn that the template is given: its role, and the numbers of the messages whose text it has."""

    role: str
    sources: tuple[int, ...]


Plan = tuple[Turn, ...]
"""The turns that a template is given for the messages of a chat; each message is in one of them, in order."""

Step = Callable[[Plan, Shape], Plan]


def unchanged(shape: Shape) -> Plan:
    return tuple(Turn(mark.role, (number,)) for number, mark in enumerate(shape))


def changed(shape: Shape, steps: Sequence[Step]) -> Plan:
    """The plan of a chat after these changes."""
    plan = unchanged(shape)
    for step in steps:
        plan = step(plan, shape)
    return plan


def planned(plan: Plan, messages: Sequence[Message]) -> list[Message]:
    """The messages as the plan has them; texts are joined by a blank line."""
    return [_message(turn, messages) for turn in plan]


def join(plan: Plan, shape: Shape) -> Plan:
    """Make neighbouring turns of one role one turn; results of tools, and what follows a call, stay apart."""
    return _joined(plan, shape, ("system", "user", "assistant"))


def join_systems(plan: Plan, shape: Shape) -> Plan:
    """Make neighbouring system prompts one."""
    return _joined(plan, shape, ("system",))


def fold_later_systems(plan: Plan, _: Shape) -> Plan:
    """Put all system prompts but the one at the start into user turns."""
    return _folded(plan, start=1)


def fold_systems(plan: Plan, _: Shape) -> Plan:
    """Put all system prompts into user turns."""
    return _folded(plan, start=0)


def open_by_user(plan: Plan, _: Shape) -> Plan:
    """Put an empty user turn before an assistant's that begins the chat, so that no words are invented."""
    first = next((number for number, turn in enumerate(plan) if turn.role != "system"), None)
    if first is None or plan[first].role != "assistant":
        return plan
    return (*plan[:first], Turn("user", ()), *plan[first:])


def open_by_system(plan: Plan, _: Shape) -> Plan:
    """Put an empty system prompt at the start where there is none."""
    return plan if plan and plan[0].role == "system" else (Turn("system", ()), *plan)


SIMPLEST: tuple[Step, ...] = (fold_systems, join)
"""The changes that leave what every template must know: user and assistant in turn."""

ATTEMPTS: tuple[tuple[Step, ...], ...] = (
    (),
    (join_systems,),
    (join,),
    (open_by_user,),
    (join_systems, open_by_user),
    (join, open_by_user),
    (join_systems, fold_later_systems),
    (join_systems, fold_later_systems, open_by_user),
    (join_systems, fold_later_systems, join),
    (join_systems, fold_later_systems, join, open_by_user),
    (fold_systems,),
    (fold_systems, open_by_user),
    SIMPLEST,
    (*SIMPLEST, open_by_user),
    (open_by_system,),
    (join, open_by_system),
    (join_systems, fold_later_systems, join, open_by_user, open_by_system),
)
"""The changes that are tried, in this order: the smallest first."""


def _joined(plan: Plan, shape: Shape, roles: Sequence[str]) -> Plan:
    turns: list[Turn] = []
    for turn in plan:
        last = turns[-1] if turns else None
        called = last is not None and any(shape[number].calls for number in last.sources)
        if last and not called and last.role == turn.role in roles:
            turns[-1] = Turn(turn.role, last.sources + turn.sources)
        else:
            turns.append(turn)
    return tuple(turns)


def _folded(plan: Plan, start: int) -> Plan:
    """System prompts from turn `start` on in front of the user turn that follows, else behind the one before."""
    turns = list(plan[:start])
    folded: tuple[int, ...] = ()

    def place() -> None:
        if folded and turns and turns[-1].role == "user":
            turns[-1] = Turn("user", turns[-1].sources + folded)
        elif folded:
            turns.append(Turn("user", folded))

    for turn in plan[start:]:
        if turn.role == "system":
            folded += turn.sources
            continue
        if turn.role == "user":
            turns.append(Turn("user", folded + turn.sources))
        else:
            place()
            turns.append(turn)
        folded = ()
    place()
    return tuple(turns)


def _message(turn: Turn, messages: Sequence[Message]) -> Message:
    if len(turn.sources) == 1:
        return {**messages[turn.sources[0]], "role": turn.role}
    sources = [messages[number] for number in turn.sources]
    texts = [message["content"] for message in sources]
    joined: Message = {"role": turn.role, "content": "\n\n".join(text for text in texts if text.strip())}
    if calls := [call for message in sources for call in message.get("tool_calls", [])]:
        joined["tool_calls"] = calls
    return joined
