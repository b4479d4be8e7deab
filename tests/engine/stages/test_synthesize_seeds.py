"""What new pairs are modelled on, and what the service is told."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

from scripted import Service, always
from synthesis import (
    DEV,
    DEVS,
    TEST,
    coverage,
    fresh,
    pair,
    synthesis,
    weak,
    written,
)

from engine.protocol.decision import PromptScore


def seeds_asked(service: Service) -> Counter[str]:
    return Counter("weak" if "The weak seed" in prompt else "strong" for prompt in service.prompts)


async def test_failures_draw_more_from_where_the_model_is_weak(tmp_path: Path) -> None:
    async with synthesis(always(fresh()), tmp_path) as (service, stage):
        await stage.run(200)

    asked = seeds_asked(service)
    # 30 % of the seeds come from all alike, so that what works is not forgotten.
    assert 0.65 < asked["weak"] / asked.total() < 0.95


async def test_calls_differ_in_what_they_ask_for_as_the_train_rows_do(tmp_path: Path) -> None:
    async with synthesis(always(fresh()), tmp_path) as (service, stage):
        await stage.run(60)

    lines = re.compile(r"^Kind: .*\nLength: .*\nForm: .*\n(?:Subject: .*\n)?Difficulty: .*$", re.MULTILINE)
    asked = [lines.search(prompt) for prompt in service.prompts]
    assert len({found[0] for found in asked if found}) >= 3
    for found, prompt in zip(asked, service.prompts, strict=True):
        assert found and found[0].startswith("Kind: weak." if "The weak seed" in prompt else "Kind: strong.")
        assert "Length: about 5 words.\nForm: with figures." in found[0]


async def test_seeds_are_near_to_what_broke_the_contract(tmp_path: Path) -> None:
    """Of the strong prompts those of magpies broke it: the train rows with magpies are asked for more."""
    rows = [pair(f"Here {n} birds {kind} over a lake", "strong") for kind in ("sing", "magpies") for n in range(5)]
    coverage(tmp_path, [*rows, pair("Weak one", "weak")])
    broken = {pair(text).id: "not JSON" for text in DEVS["strong"][1:]}
    even = [PromptScore(id=score.id, precision=50, similarity=50) for score in weak()]
    async with synthesis(always(fresh()), tmp_path) as (service, stage):
        stage.request_changes = {"breaches": broken, "weak": even}
        await stage.run(300)

    count = Counter("magpies" in prompt.partition("</instruction>")[0] for prompt in service.prompts)
    assert count[True] > 0.55 * count.total()


async def test_uniform_draws_from_all_alike(tmp_path: Path) -> None:
    async with synthesis(always(fresh()), tmp_path, strategy="uniform") as (service, stage):
        await stage.run(200)

    asked = seeds_asked(service)
    assert 0.35 < asked["weak"] / asked.total() < 0.65


async def test_dev_and_test_text_is_never_told(tmp_path: Path) -> None:
    async with synthesis(always(lambda: written(DEV, TEST), fresh()), tmp_path) as (service, stage):
        await stage.run(60)

    sent = json.dumps(service.bodies)
    assert "seed number" in sent
    for text in (*DEVS["weak"], *DEVS["strong"], TEST):
        assert text[:20] not in sent and f"Reply to: {text}"[:30] not in sent
    for word in ("heron", "frog", "magpie", "spoon", "swan", "danube", "owl"):
        assert word not in sent.casefold()


async def test_a_pair_stands_under_the_system_prompt_of_its_seed(tmp_path: Path) -> None:
    coverage(tmp_path, [pair("Seed", system="Be brief.", turns=2)])
    async with synthesis(always(fresh()), tmp_path, strategy="uniform") as (service, stage):
        rows = await stage.run(2)

    assert [[message["role"] for message in row["messages"]] for row in rows] == [["system", "user", "assistant"]] * 2
    assert rows[0]["messages"][0]["content"] == "Be brief."
    assert "turn 0" in service.prompts[0]
