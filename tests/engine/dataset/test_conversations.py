from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.conversations import MANY, continued
from engine.dataset.families import families
from engine.dataset.split import split
from engine.protocol.rows import Message, Pair, prompt_id
from engine.settings.schema import Split

LONG = 14
"""Words of a turn that is no greeting."""


def pair(messages: list[Message], group: str = "") -> Pair:
    return Pair(id=prompt_id(messages[:-1]), messages=messages, group=group)


def chat(*turns: str, first: str = "user", system: str = "") -> Pair:
    """A pair of the user's and the assistant's turns, one after the other."""
    roles = ("user", "assistant") if first == "user" else ("assistant", "user")
    messages: list[Message] = [{"role": roles[place % 2], "content": turn} for place, turn in enumerate(turns)]
    return pair([{"role": "system", "content": system}, *messages] if system else messages)


class Talk:
    """Makes up turns, each of other words."""

    def __init__(self, seed: int = 0) -> None:
        self.dice = random.Random(seed)

    def say(self, words: int = LONG) -> str:
        return " ".join(f"w{self.dice.getrandbits(40):x}" for _ in range(words))

    def turns(self, exchanges: int, words: int = LONG) -> list[str]:
        return [self.say(words) for _ in range(2 * exchanges)]


Requests = Callable[[list[Message], random.Random], Iterator[list[Message]]]


def growing(turns: list[Message], dice: random.Random) -> Iterator[list[Message]]:
    for end in range(2, len(turns) + 1, 2):
        yield turns[:end]


def window(size: int) -> Requests:
    """Requests with the last `size` messages each, and their answers."""

    def requests(turns: list[Message], dice: random.Random) -> Iterator[list[Message]]:
        for end in range(2, len(turns) + 1, 2):
            yield turns[max(0, end - 1 - size) : end]

    return requests


def clock(requests: Requests) -> Requests:
    def with_clock(turns: list[Message], dice: random.Random) -> Iterator[list[Message]]:
        for messages in requests(turns, dice):
            retrieved = " ".join(f"fact{dice.getrandbits(30)}" for _ in range(dice.randint(0, 40)))
            yield [{"role": "system", "content": f"You help. It is {dice.random()}. {retrieved}"}, *messages]

    return with_clock


def thoughts(requests: Requests, tag: str = "<think>") -> Requests:
    """Answers with thoughts, which the later requests have no longer."""

    def with_thoughts(turns: list[Message], dice: random.Random) -> Iterator[list[Message]]:
        for messages in requests(turns, dice):
            thought = f"{tag}\nhm {dice.random()}, {dice.random()}\n</think>\n\n"
            yield [*messages[:-1], {"role": "assistant", "content": thought + messages[-1]["content"]}]

    return with_thoughts


def without_some(requests: Requests) -> Requests:
    """Without requests in the middle, as calls fail; never two that follow each other."""

    def with_gaps(turns: list[Message], dice: random.Random) -> Iterator[list[Message]]:
        kept = True
        for messages in requests(turns, dice):
            kept = not kept or dice.random() < 0.6
            if kept:
                yield messages

    return with_gaps


def retrieved(requests: Requests) -> Requests:
    """Questions with retrieved text around them, which the history leaves out."""

    def with_context(turns: list[Message], dice: random.Random) -> Iterator[list[Message]]:
        for messages in requests(turns, dice):
            *before, asked, answer = messages
            context = " ".join(f"fact{dice.getrandbits(30)}" for _ in range(dice.randint(5, 60)))
            yield [*before, {"role": "user", "content": f"{context}\nQuestion: {asked['content']}"}, answer]

    return with_context


def few_shot(requests: Requests) -> Requests:
    """Each prompt begins with the same three examples."""
    examples: list[Message] = []
    for turn in Talk(99).turns(3):
        examples.append({"role": "assistant" if len(examples) % 2 else "user", "content": turn})

    def with_examples(turns: list[Message], dice: random.Random) -> Iterator[list[Message]]:
        for messages in requests(turns, dice):
            yield [*examples, *messages]

    return with_examples


KINDS: dict[str, Requests] = {
    "growing, retrieved": retrieved(growing),
    "window of 5, retrieved": clock(retrieved(window(5))),
    "growing": growing,
    "growing, clock": clock(growing),
    "growing, thoughts": thoughts(growing),
    "growing, thoughts begun in the template": thoughts(growing, ""),
    "growing, examples": few_shot(growing),
    "growing, examples and clock": clock(few_shot(growing)),
    "growing, gaps": without_some(growing),
    **{f"window of {size}": window(size) for size in range(2, 9)},
    **{f"window of {size}, clock and thoughts": clock(thoughts(window(size))) for size in range(2, 9)},
    **{f"window of {size}, gaps": without_some(window(size)) for size in range(4, 9)},
    **{f"window of {size}, examples": few_shot(window(size)) for size in range(2, 9)},
}


def log(kind: str, conversations: int, seed: int, words: int = LONG) -> list[Pair]:
    """Recorded requests of conversations, in any order; `source` says of which each is."""
    talk = Talk(seed)
    rows = []
    for number in range(conversations):
        turns: list[Message] = [
            {"role": "assistant" if place % 2 else "user", "content": text}
            for place, text in enumerate(talk.turns(talk.dice.randint(1, 7), words))
        ]
        for messages in KINDS[kind](turns, talk.dice):
            rows.append(Pair(id=prompt_id(messages[:-1]), messages=messages, source=str(number)))
    talk.dice.shuffle(rows)
    return rows


def assert_conversations_are_families(rows: list[Pair]) -> None:
    conversations = defaultdict(list)
    for number, row in enumerate(rows):
        conversations[row.source].append(number)
    assert sorted(families(rows)) == sorted(conversations.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("words", [2, LONG, 80])
def test_no_row_of_dev_or_test_has_a_relative_in_train(kind: str, words: int) -> None:
    rows = log(kind, 120, seed=1, words=LONG if "retrieved" in kind else words)
    assert_conversations_are_families(rows)

    sides = defaultdict(set)
    for name, part in split(rows, Split())._asdict().items():
        for row in part:
            sides[row.source].add(name)
    assert {source: found for source, found in sides.items() if len(found) > 1} == {}
    assert {next(iter(found)) for found in sides.values()} == {"train", "dev", "test"}


@given(st.sampled_from(sorted(KINDS)), st.integers(0, 10_000), st.integers(20, 60), st.integers(2, 30))
def test_conversations_are_families(kind: str, seed: int, conversations: int, words: int) -> None:
    assert_conversations_are_families(log(kind, conversations, seed, LONG if "retrieved" in kind else words))


def alone(rows: list[Pair]) -> bool:
    return all(len(family) == 1 for family in families(rows))


def joined(*rows: Pair) -> list[list[int]]:
    """The families among these rows and others that have nothing to do with them."""
    others = log("growing", 30, seed=5)
    return [family for family in families([*rows, *others]) if family[0] < len(rows)]


def test_a_greeting_that_many_begin_with_makes_no_family() -> None:
    hello = ["Hi there", "Hello! What can I do for you today?"]
    rows = [chat(*hello), *(chat(*hello, f"question {n} of {n * n} about {n * 7}", "yes") for n in range(9))]
    assert alone(rows)
    assert alone(rows[:3])


def test_a_greeting_by_the_assistant_makes_no_family() -> None:
    hello = "Hello, I am the assistant of the shop, and I answer questions about orders, parcels and bills."
    assert alone([chat(hello, f"question {n} about {n * n}", f"answer {n}", first="assistant") for n in range(20)])


def test_examples_that_are_rows_themselves_make_no_family() -> None:
    talk = Talk()
    examples = talk.turns(3)
    rows = [chat(*examples[at : at + 2]) for at in (0, 2, 4)]
    rows += [chat(*examples, talk.say(), talk.say()) for _ in range(30)]
    rows += [chat(*examples, *examples[at : at + 2]) for at in (0, 2, 4)]
    sizes = sorted(map(len, families(rows)))
    # An example under the examples may be with the same example alone.
    assert sizes[-1] <= 2 and len(sizes) >= 33


def test_short_turns_of_many_conversations_join_nothing() -> None:
    talk = Talk()
    rows = []
    for _ in range(30):
        turns = [*talk.turns(1), "ok, next", "Done.", *talk.turns(1), "yes", "Sure!", *talk.turns(1)]
        rows.append([chat(*turns[:end]) for end in range(2, len(turns) + 1, 2)])
    found = families([row for conversation in rows for row in conversation])
    assert [len(family) for family in found] == [5] * 30


def test_labels_join_nothing() -> None:
    talk = Talk()
    rows = [chat(talk.say(), "billing") for _ in range(20)]
    rows += [chat("billing", talk.say(), "bug", first="assistant") for _ in range(5)]
    assert alone(rows)


def test_thanks_at_the_end_of_many_conversations_join_nothing() -> None:
    talk = Talk()
    thanks = ["Thank you so much, that is all that I wanted to know today", "You are welcome! Have a lovely day."]
    rows = [chat(*talk.turns(1), *thanks) for _ in range(20)]
    assert alone([*rows, chat(*talk.turns(1), *thanks, *talk.turns(1))])


def test_an_answer_from_a_script_joins_nothing() -> None:
    talk = Talk()
    script = "Sure, I can help you with that. Could you please tell me the number of your order?"
    rows = []
    for _ in range(5):
        first = talk.say()
        rows += [chat(first, script), chat(first, script, *talk.turns(1))]
    assert [len(family) for family in families(rows)] == [2] * 5


def test_a_request_that_is_made_again_and_again_is_one_family() -> None:
    talk = Talk()
    first = talk.turns(1)
    rows = [pair([{"role": "system", "content": talk.say(3)}, *chat(*first).messages]) for _ in range(12)]
    assert joined(*rows, chat(*first, *talk.turns(1))) == [list(range(13))]


def test_branches_and_edits_of_a_conversation_are_one_family() -> None:
    talk = Talk()
    first, second = talk.turns(1), talk.turns(1)
    branches = [chat(*first, *talk.turns(1)) for _ in range(MANY)]
    assert joined(chat(*first), *branches) == [list(range(MANY + 1))]
    assert joined(*branches) == [list(range(MANY))], "the request that they have in common is missing"

    edited = chat("an earlier turn, edited", first[1], *second, *talk.turns(1))
    assert joined(chat(*first, *second), edited) == [[0, 1]]


def test_a_question_that_is_answered_again_is_one_family() -> None:
    talk = Talk()
    question, answer, again = talk.say(), talk.say(), talk.say()
    assert joined(chat(question, answer), chat(question, again, *talk.turns(1))) == [[0, 1]]


def test_calls_and_their_results_are_turns() -> None:
    talk = Talk()
    called: Message = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "find", "arguments": talk.say()}}],
    }
    again: Message = {**called, "tool_calls": [{**called["tool_calls"][0], "id": "call_2"}]}
    result: Message = {"role": "tool", "content": talk.say(), "tool_call_id": "call_2"}
    asked: Message = {"role": "user", "content": talk.say()}
    answer: Message = {"role": "assistant", "content": talk.say()}
    rows = [
        pair([asked, called]),
        pair([asked, again, result, answer]),
        pair([result, answer, {"role": "user", "content": talk.say()}, {"role": "assistant", "content": "yes"}]),
        pair([again, result, answer]),
    ]
    assert joined(*rows) == [[0, 1, 2, 3]]


def test_prompts_of_any_order_of_roles_are_taken() -> None:
    rows = [
        pair([{"role": role, "content": f"{role} {place}"} for place, role in enumerate([*roles, "assistant"])])
        for roles in (
            ["system"],
            ["system", "assistant"],
            ["assistant"],
            ["assistant", "assistant"],
            ["user", "assistant"],
            ["user", "user"],
            ["user", "system"],
            ["tool"],
            [],
        )
    ]
    assert sorted(number for family in families(rows) for number in family) == list(range(len(rows)))


def test_thoughts_without_end_take_no_time() -> None:
    text = "<think>" * 140_000
    rows = [chat("a question", text, "another", text + "</think>"), chat("a question", text)]
    assert continued(rows).shape[1] == 2
