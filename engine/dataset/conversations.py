"""Pairs that continue one another, found by their turns: requests of one conversation as a service logs them.

Each request holds the turns before it, or the last few, under a system prompt that may change each time. So a pair's
last question with its target stands in the prompts of the later ones; where a prompt is cut behind the question, it
begins with the target. System messages and thoughts are left out: a log has them in one place and not in another.

Not all that prompts share makes a conversation: examples that are shown to the model, greetings, "yes" and "ok". What
many different turns follow joins nothing, and a short text joins nothing if two different turns follow it.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.dataset.links import Links, Numbers, no_links, stars
from engine.protocol.rows import Message, Pair, message_text

MANY = 8
"""Different turns that may follow the same turns of one conversation, as people edit and branch."""

WORDS = 12
"""Fewer words are a greeting or a "yes", and occur in many conversations."""

_THOUGHTS = ("think", "thinking", "thought", "reasoning")

Link = tuple[int, int]
Keys = NDArray[np.uint64]
Which = NDArray[np.bool_]


class Turns(NamedTuple):
    """The turns of many chats, one chat after the other, without the system's.

    `keys` stand for the texts, and `before` for all turns of the chat up to this one. `places` count from 0 within a
    chat; `left` counts the turns that follow, of which the last is the target.
    """

    chats: Numbers
    places: Numbers
    left: Numbers
    assistant: Which
    words: Numbers
    keys: Keys
    before: Keys

    @property
    def following(self) -> Keys:
        """The key of the next turn of each prompt, 0 after its last."""
        return np.where(self.left > 1, np.roll(self.keys, -1), np.uint64(0))


class Sign(NamedTuple):
    """What a conversation can be known by: a key and the words in it, by turn.

    It counts where it is the end of a chat, and where it stands in a later one.
    """

    keys: Keys
    words: Numbers
    ends: Which
    later: Which


def continued(pairs: Sequence[Pair]) -> Links:
    """Links between the positions of pairs of one conversation, as their turns show."""
    if not any(message["role"] == "assistant" for pair in pairs for message in pair.prompt):
        return no_links()
    turns = _turns(pairs)
    own = turns.places - _shared(turns)[turns.chats]
    links = [_star(turns, *_found(turns, sign)) for sign in _signs(turns, own)]
    return np.concatenate([*links, _siblings(turns, own), _reworded(pairs, turns, own)])


def _turns(pairs: Sequence[Pair]) -> Turns:
    keys, before, words, assistant, counts = array("q"), array("q"), array("q"), bytearray(), array("q")
    for pair in pairs:
        all_before, count = 0, 0
        for message in pair.messages:
            if message["role"] != "system":
                spoken = message["role"] == "assistant"
                text = _comparable(message, spoken)
                key = hash((spoken, text))
                all_before = hash((all_before, key))
                keys.append(key)
                before.append(all_before)
                words.append(text.count(" ") + 1)
                assistant.append(spoken)
                count += 1
        counts.append(count)
    lengths = np.array(counts, dtype=np.int64)
    ends = np.cumsum(lengths)
    places = np.arange(len(keys)) - np.repeat(ends - lengths, lengths)
    return Turns(
        chats=np.repeat(np.arange(len(lengths)), lengths),
        places=places,
        left=np.repeat(lengths, lengths) - places - 1,
        assistant=np.frombuffer(assistant, dtype=bool),
        words=np.array(words, dtype=np.int64),
        keys=np.array(keys, dtype=np.int64).astype(np.uint64),
        before=np.array(before, dtype=np.int64).astype(np.uint64),
    )


def _comparable(message: Message, spoken: bool) -> str:
    """The text of a turn with single spaces, and without the thoughts of an assistant."""
    text = message_text(message)
    if spoken and "</" in text:
        for tag in _THOUGHTS:
            *thoughts, rest = text.split(f"</{tag}>")
            # A thought may have begun in the chat template.
            text = "".join(thought.partition(f"<{tag}>")[0] for thought in thoughts if f"<{tag}>" in thought) + rest
    return " ".join(text.split())


def _shared(turns: Turns) -> Numbers:
    """For each chat how many of its first turns many others share: examples, or a greeting."""
    inner = np.flatnonzero(turns.left > 1)
    counts = _distinct(turns.before[inner], turns.following[inner])
    common = inner[counts > MANY]
    shared = np.zeros(turns.chats[-1] + 1, dtype=np.int64)
    np.maximum.at(shared, turns.chats[common], turns.places[common] + 1)
    return shared


def _signs(turns: Turns, own: Numbers) -> Iterator[Sign]:
    """What pairs are joined by; `own` counts a conversation's own turns from 0, and is negative for shared ones."""
    target, answer = turns.left == 0, turns.assistant & (turns.left > 0) & (own >= 0)
    # A question with its answer; and the same with the exchange before it, where it alone is too common.
    exchange, words = _mixed(turns.keys, np.roll(turns.keys, 1)), turns.words + np.roll(turns.words, 1)
    yield Sign(exchange, words, target & (turns.places >= 1), answer & (turns.places >= 1))
    two, more_words = _mixed(exchange, np.roll(exchange, 2)), words + np.roll(words, 2)
    yield Sign(two, more_words, target & (turns.places >= 3), answer & (turns.places >= 3))
    # The whole chat, and an answer whose question has been cut off.
    sums = np.cumsum(turns.words)
    yield Sign(turns.before, sums - (sums - turns.words)[turns.places == 0][turns.chats], target, answer)
    yield Sign(turns.keys, turns.words, target, answer & (own == 0))
    # The question alone, if it is long: its answer may have been edited, or given again.
    asked = ~turns.assistant & (turns.words >= WORDS)
    several = np.zeros(turns.chats[-1] + 1, dtype=bool)
    several[turns.chats[turns.assistant & ~target]] = True
    yield Sign(turns.keys, turns.words, asked & (turns.left == 1), asked & ~target & (own >= 0) & several[turns.chats])


def _found(turns: Turns, sign: Sign) -> tuple[Sign, Numbers, Numbers]:
    """The turns that end a chat with a sign and those that have it in a later one, unless it is too common."""
    ends, later = np.flatnonzero(sign.ends), np.flatnonzero(sign.later)
    later = later[np.isin(sign.keys[later], sign.keys[ends])]
    ends = ends[np.isin(sign.keys[ends], sign.keys[later])]
    most = np.where(sign.words >= WORDS, MANY, 1)
    rare = _distinct(sign.keys[later], turns.following[later]) <= most[later]
    clear = _distinct(sign.keys[ends], turns.before[ends]) <= most[ends]
    ends = ends[clear & np.isin(sign.keys[ends], sign.keys[later[rare]])]
    return sign, ends, later[np.isin(sign.keys[later], sign.keys[ends])]


def _star(turns: Turns, sign: Sign, ends: Numbers, later: Numbers) -> Links:
    """Links between the chats of turns with the same sign."""
    both = np.concatenate([ends, later])
    return stars(sign.keys[both], turns.chats[both])


def _siblings(turns: Turns, own: Numbers) -> Links:
    """Links between chats that begin with the same question and answer, which may not be a pair themselves."""
    first = (own >= 0) & turns.assistant & (turns.places == 1) & (turns.left > 0)
    places = np.flatnonzero(first & (turns.words + np.roll(turns.words, 1) >= WORDS))
    places = places[_distinct(turns.before[places], turns.following[places]) <= MANY]
    return stars(turns.before[places], turns.chats[places])


def _reworded(pairs: Sequence[Pair], turns: Turns, own: Numbers) -> Links:
    """Links between chats with the same long answer, where one question contains the other.

    A program may put retrieved text around the question that it asks, and leave it out of the history.
    """
    told = (turns.words >= WORDS) & (turns.places >= 1)
    answer = told & turns.assistant & (turns.left > 0) & (own >= 1)
    _, ends, later = _found(turns, Sign(turns.keys, turns.words, told & (turns.left == 0), answer))
    links: list[Link] = []
    asked, repeated = (_by_question(pairs, turns, places, links) for places in (ends.tolist(), later.tolist()))
    for key, questions in repeated.items():
        for question, place in questions.items():
            for other, end in asked.get(key, {}).items():
                if question in other or other in question:
                    links.append((int(turns.chats[end]), int(turns.chats[place])))
    return np.array(links, dtype=np.int64).reshape(-1, 2)


def _by_question(
    pairs: Sequence[Pair], turns: Turns, places: Sequence[int], links: list[Link]
) -> dict[int, dict[str, int]]:
    """One place of each answer and question; the chats of the others are linked to it."""
    first: dict[int, dict[str, int]] = defaultdict(dict)
    for place in places:
        known = first[int(turns.keys[place])].setdefault(_question(pairs, turns, place), place)
        if known != place:
            links.append((int(turns.chats[known]), int(turns.chats[place])))
    return first


def _question(pairs: Sequence[Pair], turns: Turns, answer: int) -> str:
    """The turn before an answer."""
    pair = pairs[int(turns.chats[answer])]
    spoken = [message for message in pair.messages if message["role"] != "system"]
    return _comparable(spoken[int(turns.places[answer]) - 1], spoken=False)


def _distinct(keys: Keys, values: Keys) -> Numbers:
    """For each key how many different values it is found with."""
    _, key = np.unique(keys, return_inverse=True)
    order = np.lexsort((values, key))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (key[order][1:] != key[order][:-1]) | (values[order][1:] != values[order][:-1])
    return np.bincount(key[order][new], minlength=len(keys))[key]


def _mixed(one: Keys, other: Keys) -> Keys:
    mixed = (one * np.uint64(0x9E3779B97F4A7C15)) ^ other
    return (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
