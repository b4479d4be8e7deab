"""How many pairs are written, what that costs, and what a crash leaves."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from scripted import Service, always, completion, error
from synthesis import (
    DEV,
    TEST,
    TRAIN,
    Synthesis,
    coverage,
    fresh,
    pair,
    settings,
    synthesis,
    written,
)

from engine.protocol.errors import ServiceError, StageError
from engine.protocol.limits import MOST_PAIRS
from engine.protocol.manifest import manifest
from engine.protocol.rows import REJECTED_FILE, Pair, prompt_id
from engine.sandbox import tickets
from engine.sandbox.server import Settings, create_app
from engine.stages import synthesize


async def test_as_many_pairs_as_wanted(tmp_path: Path) -> None:
    async with synthesis(always(fresh()), tmp_path) as (service, stage):
        rows = await stage.run(7)

    assert len(rows) == 7 and len(service.bodies) == 4 and stage.warnings == []
    seeds = {seed.id: seed for seed in TRAIN}
    for row in rows:
        prompt, answer = row["messages"]
        assert row["id"] == prompt_id([prompt]) and answer == {"role": "assistant", "content": "A response"}
        assert (row["generator"], row["round"]) == ("sandbox", 1)
        assert row["category"] == seeds[row["seed_id"]].category
    assert len({row["id"] for row in rows}) == 7
    done = manifest(stage.out)
    assert done is not None and done.counts == {"accepted": 7, "rejected": 0, "calls": 4}


async def test_a_wave_is_small_whatever_number_of_pairs_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthesize, "MOST_AT_ONCE", 3)
    async with synthesis(always(*[fresh()] * 6, lambda: written(DEV, TEST)), tmp_path) as (service, stage):
        rows = await stage.run(MOST_PAIRS)

    assert len(rows) == 12 and len(service.bodies) == 9
    assert stage.warnings[0].startswith("12 of 1000000 pairs: the service writes too few usable ones")


async def test_a_low_yield_ends_with_a_warning(tmp_path: Path) -> None:
    async with synthesis(always(fresh(), lambda: written(DEV, TEST)), tmp_path) as (service, stage):
        rows = await stage.run(40)

    assert len(rows) == 2
    # The first wave brought 2 of 40 pairs: no second one is paid for.
    assert len(service.bodies) == 20
    (warning,) = stage.warnings
    assert warning == "2 of 40 pairs: the service writes too few usable ones; refused: same prompt (38)"


async def test_enough_is_no_low_yield(tmp_path: Path) -> None:
    """The last wave asks for little, and little is then no sign of a dry service."""
    responses = [lambda: written(*(f"pair number {n} of {n * 7} and {n * 13}" for n in range(39))), fresh()]
    async with synthesis(always(*responses), tmp_path, pairs_per_call=50) as (service, stage):
        rows = await stage.run(40)

    assert len(rows) == 40 and len(service.bodies) == 2
    assert stage.warnings == []


@pytest.mark.parametrize("reply", [lambda: completion("no"), lambda: completion(""), lambda: written(TEST)])
async def test_no_pair_at_all_is_a_failure(tmp_path: Path, reply: Callable[[], web.Response]) -> None:
    async with synthesis(always(reply), tmp_path) as (_, stage):
        with pytest.raises(StageError, match=r"no usable pair: (unreadable reply|same prompt)"):
            await stage.run(4)

    assert manifest(stage.out) is None
    assert synthesize.brought_nothing(stage.out)


async def test_a_stop_is_no_sign_that_the_service_writes_nothing(tmp_path: Path) -> None:
    async with synthesis(always(lambda: error(401)), tmp_path) as (_, stage):
        stage.out.mkdir(parents=True, exist_ok=True)
        (stage.out / REJECTED_FILE).write_text("")
        assert synthesize.brought_nothing(stage.out)
        with pytest.raises(ServiceError):
            await stage.run(4)

    assert not synthesize.brought_nothing(stage.out)


async def test_a_refused_call_costs_only_itself(tmp_path: Path) -> None:
    policy = "Your request was rejected as a result of our safety system. content_policy_violation"
    async with synthesis(always(lambda: error(400, policy, "content_policy_violation"), fresh()), tmp_path) as (
        _,
        stage,
    ):
        rows = await stage.run(8)

    assert len(rows) == 8
    (refused,) = stage.rejected
    assert refused["reason"].startswith("refused: ") and refused["seed_id"] in {seed.id for seed in TRAIN}


async def test_the_same_seed_asks_the_same(tmp_path: Path) -> None:
    asked: list[list[str]] = []
    for name, seed, round_ in (("a", 1, 1), ("b", 1, 1), ("c", 2, 1), ("d", 1, 2)):
        async with synthesis(always(fresh()), tmp_path / name) as (service, stage):
            stage.settings = stage.settings.model_copy(
                update={"loop": stage.settings.loop.model_copy(update={"seed": seed})}
            )
            await stage.run(20, round_=round_)
            asked.append(sorted(service.prompts))

    assert asked[0] == asked[1]
    assert asked[2] != asked[0] != asked[3]


async def test_after_a_crash_nothing_is_paid_again(tmp_path: Path) -> None:
    """A call fails; the next worker gets those before it from the ledger, and a third one all of them."""
    new = fresh()

    async def handler(service: Service, _request: web.Request) -> web.StreamResponse:
        return error(401) if len(service.bodies) == failing else new()

    failing = 7
    async with synthesis(handler, tmp_path) as (_, stage):
        with pytest.raises(ServiceError):
            await stage.run(20)
        assert manifest(stage.out) is None
        paid = stage.client.usage.calls
        failing = 0
        rows = await stage.run(20)
        again = await stage.run(20)

    assert paid > 0 and len(rows) == 20
    assert stage.client.usage.calls == 10 and stage.client.usage.cached_calls == 10
    assert again == rows


@pytest.mark.parametrize("faults", ["", "garbage=0.2,truncated=0.2,fenced=0.2,empty=0.1"])
async def test_with_the_sandbox_on_a_bad_day(tmp_path: Path, faults: str) -> None:
    dice = random.Random(3)
    made = [tickets.write_ticket(dice) for _ in range(12)]
    train = [pair(ticket) for ticket, _ in made]
    train = [
        Pair(id=p.id, messages=[*p.prompt, {"role": "assistant", "content": answer}])
        for p, (_, answer) in zip(train, made, strict=True)
    ]
    coverage(tmp_path, train)
    async with TestServer(create_app(Settings(faults=faults))) as server:
        stage = Synthesis(tmp_path, str(server.make_url("/v1")), settings(strategy="uniform"))
        rows = await stage.run(30)

    assert len(rows) == 30
    assert all(json.loads(row["messages"][-1]["content"]) for row in rows)
