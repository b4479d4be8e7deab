from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from engine.dataset.contamination import Fingerprint, fingerprints
from engine.dataset.data_filter import DataFilter
from engine.dataset.split import split
from engine.protocol.rows import Message, Pair, prompt_id
from engine.sandbox import tickets
from engine.settings.schema import Split, Synthesis
from tests.rewording import FILLER, embed, reword

DEV = (
    "Our caravan broke down near Trieste last Thursday, and the mechanic wants nine hundred euros for a gearbox. "
    "Does the policy pay for that, and who pays for the hotel until the parts arrive from Graz?"
)
ESSAY = " ".join(
    f"Sentence {n} of the essay says that the {n * 7}th lamp burns for {n * 13} nights." for n in range(12)
)


def pair(prompt: str, response: str = "yes", system: str = "") -> Pair:
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    return Pair(id=prompt_id(messages[:-1]), messages=messages)


def data_filter(held_out: list[Pair], known: list[Pair], **settings: float) -> DataFilter:
    rows: list[Fingerprint] = json.loads(json.dumps(list(fingerprints(held_out))))
    return DataFilter(Synthesis.model_validate(settings), rows, known)


def reasons(made: DataFilter, *pairs: Pair) -> list[str]:
    return [refusal["reason"] if refusal else "" for refusal in made.refusals(pairs)]


@pytest.mark.parametrize(
    "text",
    [
        DEV,
        DEV.upper() + "!!!",
        reword(DEV, random.Random(1), edits=2),
        embed(DEV),
        embed(reword(DEV, random.Random(2), edits=2)),
        DEV.replace(" ", "\u200b "),
        embed("\u00ad".join(DEV).replace("\u00ad \u00ad", " ")),
        DEV.replace("last Thursday", "").replace("near Trieste", "last Thursday near Trieste").replace("hotel", "inn"),
    ],
)
def test_a_held_out_prompt_is_found_in_prompts_and_responses(text: str) -> None:
    made = data_filter([pair(DEV)], [pair(f"{FILLER} number {n} of {n * n}") for n in range(20)])
    refusals = made.refusals([pair(text), pair("Something else entirely", text)])
    assert all(refusal and refusal["twin"] == pair(DEV).id for refusal in refusals)


def test_a_long_held_out_response_is_found_too() -> None:
    made = data_filter([pair(DEV, ESSAY)], [])
    assert reasons(made, pair("Write an essay", FILLER + ESSAY), pair("A second one", "yes")) == [
        "contains a dev or test prompt",
        "",
    ]


def test_the_last_question_of_a_held_out_conversation_is_found_alone() -> None:
    before = "Good morning, I am Ann, customer 2231, and I insured a caravan and two bicycles with you in the spring. "
    turns: list[Message] = [
        {"role": "user", "content": before * 2},
        {"role": "assistant", "content": ESSAY},
        {"role": "user", "content": DEV},
    ]
    held_out = Pair(id=prompt_id(turns), messages=[*turns, {"role": "assistant", "content": "yes"}])
    made = data_filter([held_out], [])

    assert reasons(made, pair(reword(DEV, random.Random(1), edits=2))) == ["contains a dev or test prompt"]
    assert reasons(made, pair("Where can I insure a boat that is older than thirty years?")) == [""]


def test_a_short_held_out_prompt_may_stand_in_a_longer_one() -> None:
    made = data_filter([pair("Where is my parcel?")], [])
    longer = "Hello! Where is my parcel? I ordered three lamps on Monday and two of them are for my aunt."
    assert reasons(made, pair(longer), pair("where is my PARCEL")) == ["", "near-duplicate prompt"]


def test_what_train_repeats_is_no_sign_of_a_leak() -> None:
    frame = "Read the message below with care and say which of our five departments is to answer it by tomorrow noon: "
    train = [pair(f"{frame}item{n} item{n * n} item{n + 1000}") for n in range(40)]
    made = data_filter([pair(frame + "the boiler leaks")], train)
    leak = f"{FILLER}{frame}the boiler leaks. {FILLER}"
    assert reasons(made, pair(frame + "a wheel squeaks"), pair(leak)) == ["", "contains a dev or test prompt"]


def test_duplicates_within_the_new_pairs_and_with_the_known() -> None:
    made = data_filter([], [pair("What does the fox say in the song?")])
    assert reasons(
        made,
        pair("what does the FOX say in the song"),
        pair("One that is new"),
        pair("One that is new!"),
        pair("One that is new", system="Be brief."),
    ) == ["near-duplicate prompt", "", "near-duplicate prompt", "near-duplicate prompt"]
    assert reasons(made, pair("One that is new")) == ["same prompt"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("Hi", "HI"), ("US or us?", "us or US?"), ("x²", "x2"), ("a\n    b", "a\nb"), ("", "  "), ("Go on", "Go on!")],
)
def test_a_short_prompt_is_known_whatever_its_case_and_white_space(one: str, other: str) -> None:
    others = [pair(f"{FILLER} number {n} of {n * n}") for n in range(20)]
    assert reasons(data_filter([], [pair(one), *others]), pair(other))[0] in ("near-duplicate prompt", "same prompt")
    assert reasons(data_filter([pair(one)], others), pair(other))[0] in ("near-duplicate prompt", "same prompt")


def test_prompts_of_any_order_of_roles_are_held_out() -> None:
    for roles in (["system"], ["assistant"], ["assistant", "tool"], ["user", "user"], ["tool", "assistant"]):
        asked: list[Message] = [{"role": role, "content": f"{DEV} {role}"} for role in roles]
        held_out = Pair(id=prompt_id(asked), messages=[*asked, {"role": "assistant", "content": "yes"}])
        assert reasons(data_filter([held_out], []), held_out, pair(FILLER)) == ["same prompt", ""]


def test_long_responses_may_not_repeat_and_short_ones_may() -> None:
    made = data_filter([], [])
    assert reasons(made, pair("a", ESSAY), pair("b", ESSAY.upper()), pair("c", "yes"), pair("d", "yes")) == [
        "",
        "near-duplicate response",
        "",
        "",
    ]
    assert reasons(data_filter([], [], duplicate_response_words=1000), pair("a", ESSAY), pair("b", ESSAY)) == ["", ""]


def test_the_threshold_is_a_setting() -> None:
    words = [f"word{n}" for n in range(60)]
    one, other = " ".join(words), " ".join([*words[:20], "new", *words[21:40], "newer", *words[41:]])
    assert reasons(data_filter([], [], duplicate_prompt=0.8), pair(one), pair(other)) == ["", "near-duplicate prompt"]
    assert reasons(data_filter([], [], duplicate_prompt=0.95), pair(one), pair(other)) == ["", ""]


def test_one_by_one_and_all_at_once_are_the_same() -> None:
    rows = [Pair(id=prompt_id(row["messages"][:-1]), messages=row["messages"]) for row in tickets.rows(4, 400)]
    train, held_out, fresh = rows[:40], rows[40:80], [*rows[80:], *rows[100:150]]
    at_once = data_filter(held_out, train).refusals(fresh)
    made = data_filter(held_out, train)
    assert [made.refusals([row])[0] for row in fresh] == at_once
    assert sum(refusal is not None for refusal in at_once) >= 50


def test_no_pair_is_lost_behind_a_malformed_one() -> None:
    made = data_filter([pair(DEV)], [])
    assert reasons(made, pair("bell \x07"), pair(DEV), pair("x " * 20_000), pair("A good one")) == [
        "control characters",
        "same prompt",
        "too long",
        "",
    ]
    assert made.refusals([]) == []


def test_tickets_of_the_same_templates_pass_and_reworded_ones_do_not() -> None:
    """Short texts from few templates are the hardest case: most words of a held-out ticket are in many others."""
    rows = [
        Pair(id=prompt_id(row["messages"][:-1]), messages=row["messages"], category=row["category"])
        for row in tickets.rows(seed=1, count=80)
    ]
    parts = split(rows, Split(dev=0.25, test=0.25))
    held_out = [*parts.dev, *parts.test]
    made = data_filter(held_out, parts.train)
    fresh = [
        Pair(id=prompt_id(row["messages"][:-1]), messages=row["messages"]) for row in tickets.rows(seed=101, count=2000)
    ]
    counts = Counter(reasons(made, *fresh))
    assert counts[""] >= 0.985 * len(fresh)

    dice = random.Random(0)
    leaks = [pair(reword(row.prompt[0]["content"], dice)) for row in held_out for _ in range(5)]
    assert Counter(reasons(data_filter(held_out, parts.train), *leaks))[""] <= 0.02 * len(leaks)
