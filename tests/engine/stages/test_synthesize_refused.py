"""New pairs that are refused, and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from scripted import Handler, Service, always, completion, prompt_of
from synthesis import (
    DEV,
    EARLIER,
    TEST,
    TRAIN,
    fresh,
    pair,
    synthesis,
    written,
)

from engine.protocol import jsonl
from engine.protocol.errors import StageError
from engine.protocol.rows import SyntheticPair
from engine.settings.schema import Contract, Task


def near(text: str) -> str:
    """So like another prompt that it must not enter: other case, spaces and marks."""
    return f"  {text.upper()}!!"


REFUSED = {
    "of train": (TRAIN[0].prompt[0]["content"], "same prompt"),
    "near train": (near(TRAIN[0].prompt[0]["content"]), "near-duplicate prompt"),
    "of dev": (DEV, "same prompt"),
    "near dev": (near(DEV), "near-duplicate prompt"),
    "of test": (TEST, "same prompt"),
    "near test": (near(TEST), "near-duplicate prompt"),
    "of an earlier round": (EARLIER, "same prompt"),
    "near an earlier round": (near(EARLIER), "near-duplicate prompt"),
    "too long": ("word " * 10_000, "too long"),
    "an escape sequence": ("Look at \x1b]52;c;aGk=\x07 this", "control characters"),
    "a C1 code": ("Look at \x9b31m this", "control characters"),
    "half a character": ("Look at \ud83d this", "control characters"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_and_why(tmp_path: Path, name: str) -> None:
    text, reason = REFUSED[name]
    earlier = tmp_path / "round-00" / "synthesize" / "pairs.jsonl"
    known = pair(EARLIER)
    jsonl.write(
        earlier,
        [
            SyntheticPair(
                id=known.id, messages=known.messages, category="", generator="sandbox", seed_id=TRAIN[0].id, round=0
            ).to_row()
        ],
    )
    async with synthesis(always(lambda: written(text, "A good one"), fresh()), tmp_path) as (_, stage):
        rows = await stage.run(2)

    assert [row["reason"] for row in stage.rejected] == [reason]
    assert ("twin" in stage.rejected[0]) == ("prompt" in reason)
    assert text not in [row["messages"][0]["content"] for row in rows] and len(rows) == 2


async def test_a_pair_is_accepted_once(tmp_path: Path) -> None:
    async with synthesis(always(lambda: written("One that is new", near("One that is new"))), tmp_path) as (_, stage):
        rows = await stage.run(2)

    assert len(rows) == 1
    assert {row["reason"] for row in stage.rejected} == {"near-duplicate prompt", "same prompt"}


async def test_a_response_with_control_characters_or_without_end(tmp_path: Path) -> None:
    responses = [lambda: written("a b c", response="x\x07"), lambda: written("d e f", response="x" * 40_000), fresh()]
    async with synthesis(always(*responses), tmp_path) as (_, stage):
        await stage.run(6)

    assert sorted(row["reason"] for row in stage.rejected) == ["control characters", "too long"]


async def test_a_pair_that_breaks_the_contract_is_refused(tmp_path: Path) -> None:
    responses = [lambda: written("What is it about?", "Another that is not"), fresh()]
    async with synthesis(always(*responses), tmp_path) as (_, stage):
        task = Task(topic="birds", contract=Contract(pattern="A response|Reply.*", max_chars=11))
        stage.settings = stage.settings.model_copy(update={"task": task})
        await stage.run(2)
        assert stage.rejected == []
        stage.settings = stage.settings.model_copy(update={"task": Task(contract=Contract(pattern="yes|no"))})
        with pytest.raises(StageError, match="breaks the contract: does not match the pattern"):
            await stage.run(2)


def judging(score: Callable[[str], object]) -> Handler:
    """Writes fresh pairs, and scores them."""
    new = fresh()

    async def handler(_service: Service, request: web.Request) -> web.StreamResponse:
        prompt = await prompt_of(request)
        if '"precision_assessment"' not in prompt:
            return new()
        assert "similarity" not in prompt
        return completion(json.dumps({"precision_assessment": {"score": score(prompt), "reason": "so"}}))

    return handler


async def test_pairs_below_the_least_score_are_refused(tmp_path: Path) -> None:
    seen: list[str] = []

    def score(prompt: str) -> object:
        seen.append(prompt)
        return 69 if len(seen) % 3 else 70

    async with synthesis(judging(score), tmp_path, min_score=70) as (_, stage):
        rows = await stage.run(6)

    assert len(rows) == 6 and len(seen) >= 18
    assert {row["reason"] for row in stage.rejected} == {"scored below 70"}
    assert {row["score"] for row in stage.rejected} == {69}
    kept = {row["messages"][0]["content"] for row in rows}
    assert not kept & {row["messages"][0]["content"] for row in stage.rejected}


async def test_a_pair_that_no_judge_can_score_is_refused(tmp_path: Path) -> None:
    said: list[int] = []

    def score(prompt: str) -> object:
        said.append(1)
        return "excellent" if len(said) <= 8 else 90

    async with synthesis(judging(score), tmp_path, min_score=70) as (_, stage):
        rows = await stage.run(4)

    assert len(rows) == 4
    assert all(row["reason"].startswith("not judged: the precision score") for row in stage.rejected)


async def test_without_a_least_score_nothing_is_judged(tmp_path: Path) -> None:
    async with synthesis(judging(lambda _: 1), tmp_path) as (service, stage):
        await stage.run(6)

    assert len(service.bodies) == 3
