import json
import random

import pytest

from engine.sandbox import tickets
from engine.sandbox.completions import complete

from .templates import JUDGE, PAIR_JUDGE, WRITER, judge_prompt, writer_prompt

TICKET, TRIAGED = tickets.write_ticket(random.Random(5))


def pairs_for(prompt: str) -> list[dict[str, str]]:
    reply = complete(prompt)
    assert reply.task == "synthesis"
    pairs: list[dict[str, str]] = json.loads(reply.text)["contents"]
    return pairs


def test_ticket() -> None:
    assert complete(TICKET) == ("ticket", TRIAGED, "stop")


def test_anything_else_is_answered_honestly() -> None:
    reply = complete("What is the capital of France?")

    assert reply.task == "other"
    assert "sandbox, not a language model" in reply.text


def test_judge() -> None:
    reply = complete(judge_prompt(JUDGE, TICKET, TRIAGED, TRIAGED))

    assert reply.task == "judge"
    assert json.loads(reply.text)["precision_assessment"]["score"] == 100


def test_new_pairs_are_as_many_as_asked_and_right() -> None:
    pairs = pairs_for(writer_prompt(WRITER, TICKET, TRIAGED, count=6))

    assert len(pairs) == 6
    for pair in pairs:
        assert json.loads(pair["response"]) == tickets.triage(pair["instruction"])


def test_same_prompt_same_pairs_other_prompt_other_pairs() -> None:
    first = writer_prompt(WRITER, TICKET, TRIAGED, 6, "Write them short.")
    second = writer_prompt(WRITER, TICKET, TRIAGED, 6, "Write them in an angry tone.")

    assert complete(first) == complete(first)
    assert not {p["instruction"] for p in pairs_for(first)} & {p["instruction"] for p in pairs_for(second)}


def test_pairs_follow_the_seed_and_still_vary() -> None:
    seed = json.loads(TRIAGED)
    made = [
        json.loads(pair["response"])
        for number in range(20)
        for pair in pairs_for(writer_prompt(WRITER, TICKET, TRIAGED, 10, f"Variation {number}"))
    ]
    related = sum(new["product"] == seed["product"] or new["kind"] == seed["kind"] for new in made)

    # Half are related by intent; of the rest, chance makes another two in five so.
    assert 0.55 < related / len(made) < 0.85
    assert {new["kind"] for new in made} == set(tickets.PROBLEMS)


def test_pairs_are_of_the_kind_that_is_asked_for() -> None:
    made = pairs_for(writer_prompt(WRITER, TICKET, TRIAGED, 10, "Kind: billing.\nLength: about 20 words."))
    unknown = pairs_for(writer_prompt(WRITER, TICKET, TRIAGED, 10, "Kind: weather."))

    assert {json.loads(pair["response"])["kind"] for pair in made} == {"billing"}
    assert len({json.loads(pair["response"])["kind"] for pair in unknown}) > 1


def test_a_seed_asks_for_no_kind() -> None:
    made = pairs_for(writer_prompt(WRITER, f"{TICKET}\nKind: billing.", "Kind: billing.", 20))

    assert len({json.loads(pair["response"])["kind"] for pair in made}) > 1


@pytest.mark.parametrize(("response", "score"), [(TRIAGED, 100), ("{}", 1), ("I don't know", 1)])
def test_a_pair_is_judged_by_its_own_instruction(response: str, score: int) -> None:
    reply = complete(PAIR_JUDGE.substitute(instruction=TICKET, response=response, mark="1"))

    assert reply.task == "judge"
    assert list(json.loads(reply.text)) == ["precision_assessment"]
    assert json.loads(reply.text)["precision_assessment"]["score"] <= score + 3
    assert (json.loads(reply.text)["precision_assessment"]["score"] == 100) is (score == 100)


def test_no_pairs_for_another_task() -> None:
    assert pairs_for(writer_prompt(WRITER, "Classify this song by its mood", "sad")) == []


def test_lone_surrogates_are_harmless() -> None:
    assert pairs_for(writer_prompt(WRITER, "\ud800", "\udfff")) == []
