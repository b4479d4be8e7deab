"""An answer counts once it has been read: what is paid, kept, asked again, and asked after a restart."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from calling import MODEL, ask, asking, client_of
from scripted import Service as Server
from scripted import always, completion, serving

from engine.service.cache import Cache
from engine.service.client import Client
from engine.service.completion import Completion
from engine.service.faults import RefusedError
from engine.service.ledger import Ledger
from engine.service.output_parsing import ParsingError
from engine.service.replies import MOST_REPLIES
from engine.settings.schema import Service

PRICES = {"input_price": 1.0, "output_price": 10.0}
COST = 60e-6


def ended(how: str, content: Any = "", **message: Any) -> web.Response:
    said = {"role": "assistant", "content": content, **message}
    return completion("", choices=[{"index": 0, "message": said, "finish_reason": how}])


def number(reply: Completion) -> int:
    try:
        return int(reply.text)
    except ValueError:
        raise ParsingError(f"{reply.text[:20]!r} is no number") from None


async def ask_number(client: Client, *, correct: bool = True) -> int:
    return await client.ask(
        [{"role": "user", "content": "How many?"}],
        model=MODEL,
        read=number,
        max_tokens=50,
        temperature=0.0,
        correct=correct,
    )


BAD = {
    "empty": (lambda: ended("stop"), "empty"),
    "blank": (lambda: ended("stop", " \n"), "empty"),
    "null": (lambda: ended("stop", None), "empty"),
    "invisible": (lambda: ended("stop", "\u200b</s><|im_end|>"), "empty"),
    "thoughts alone": (lambda: ended("stop", "<think>5</think>"), "empty"),
    "cut in thoughts": (lambda: ended("length"), "cut"),
    "cut": (lambda: ended("length", "it may be"), "cut"),
    "filtered": (lambda: ended("content_filter", "5"), "refused"),
    "refused": (lambda: ended("stop", None, refusal="No."), "refused"),
    "unreadable": (lambda: ended("stop", "five"), "unreadable"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_reply_that_is_no_answer_is_paid_and_asked_again(name: str, tmp_path: Path, slept: list[float]) -> None:
    bad, _ = BAD[name]
    cache = Cache(tmp_path / "cache.sqlite")
    async with asking(always(bad, lambda: completion("7")), tmp_path, cache=cache, **PRICES) as (server, client):
        assert await ask_number(client) == 7
        assert client.usage.calls == len(server.bodies) == 2
        assert client.spent == pytest.approx(2 * COST)
        client._ledger.close()
        resumed = client_of(server, tmp_path, cache=cache, **PRICES)
        assert await ask_number(resumed) == 7
        (tmp_path / "new").mkdir()
        new_run = client_of(server, tmp_path / "new", cache=cache, **PRICES)
        assert await ask_number(new_run) == 7
        assert len(server.bodies) == 2 and resumed.spent == pytest.approx(2 * COST) and new_run.spent == 0


@pytest.mark.parametrize("name", BAD)
async def test_after_a_while_it_is_left_out_and_a_resume_asks_again(
    name: str, tmp_path: Path, slept: list[float]
) -> None:
    bad, kind = BAD[name]
    cache = Cache(tmp_path / "cache.sqlite")
    well = False

    async def handler(_server: Server, _request: web.Request) -> web.StreamResponse:
        return completion("7") if well else bad()

    async with asking(handler, tmp_path, cache=cache, **PRICES) as (server, client):
        with pytest.raises(RefusedError if kind == "refused" else ParsingError):
            await ask_number(client)
        paid = len(server.bodies)
        assert paid == MOST_REPLIES[kind] and client.spent == pytest.approx(paid * COST)  # type: ignore[index]
        well = True
        client._ledger.close()
        resumed = client_of(server, tmp_path, cache=cache, **PRICES)
        assert await ask_number(resumed) == 7
        assert len(server.bodies) == paid + 1 and resumed.spent == pytest.approx((paid + 1) * COST)


async def test_unreadable_replies_in_an_old_cache_are_forgotten(tmp_path: Path, slept: list[float]) -> None:
    cache = Cache(tmp_path / "cache.sqlite")
    async with asking(always(lambda: completion("7")), tmp_path, cache=cache) as (server, client):
        assert await ask_number(client) == 7
        for folder in ("a", "b"):
            await cache._database.write("UPDATE replies SET reply = '' WHERE ? = ?", (1, int(folder == "a")))
            (tmp_path / folder).mkdir()
            assert await ask_number(client_of(server, tmp_path / folder, cache=cache)) == 7

    assert len(server.bodies) == 2


async def test_what_was_wrong_is_told_only_where_that_is_wanted(tmp_path: Path) -> None:
    for correct in (True, False):
        (folder := tmp_path / str(correct)).mkdir()
        async with asking(always(lambda: completion("five"), lambda: completion("7")), folder) as (server, client):
            if correct:
                assert await ask_number(client) == 7
                assert "'five' is no number" in server.bodies[1]["messages"][-1]["content"]
            else:
                with pytest.raises(ParsingError):
                    await ask_number(client, correct=False)
                assert len(server.bodies) == 1


async def test_a_cut_reply_gets_more_room_within_the_users_own_limit(tmp_path: Path) -> None:
    async def thinking(_server: Server, request: web.Request) -> web.StreamResponse:
        return completion("7") if (await request.json())["max_tokens"] >= 200 else ended("length")

    (tmp_path / "fixed").mkdir()
    async with serving(thinking) as server:
        assert await ask_number(client_of(server, tmp_path)) == 7
        assert [body["max_tokens"] for body in server.bodies] == [50, 200]
        fixed = client_of(server, tmp_path / "fixed", params={"max_tokens": 60})
        with pytest.raises(ParsingError, match="all 5 tokens went into thoughts"):
            await ask_number(fixed)
        assert {body["max_tokens"] for body in server.bodies[2:]} == {60}


async def test_a_whole_completion_is_not_cut(tmp_path: Path) -> None:
    async with asking(always(lambda: ended("length", "half of")), tmp_path) as (server, client):
        with pytest.raises(ParsingError, match="has more than 5 tokens"):
            await ask(client)

    assert [body["max_tokens"] for body in server.bodies] == [50, 100, 200]


async def test_thoughts_are_no_part_of_an_answer(tmp_path: Path) -> None:
    async with asking(always(lambda: completion("is it 5?</think>7")), tmp_path) as (_, client):
        assert await ask_number(client) == 7
        assert (await ask(client, "in words")).text == "7"


async def test_a_model_of_which_nothing_can_be_read_is_not_asked_again_for_every_request(tmp_path: Path) -> None:
    async with asking(always(lambda: completion("five")), tmp_path) as (server, client):
        asked = [
            client.ask(
                [{"role": "user", "content": str(n)}],
                model=MODEL,
                read=number,
                max_tokens=50,
                temperature=0.0,
                correct=True,
            )
            for n in range(20)
        ]
        ends = await asyncio.gather(*asked, return_exceptions=True)

    assert all(isinstance(end, ParsingError) for end in ends)
    assert len(server.bodies) == 20 + 2 * (MOST_REPLIES["unreadable"] - 1)


async def test_the_model_that_answered_is_kept_and_a_change_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    names = iter(["gpt-1", "gpt-1", "gpt-2\x1b[31m", "gpt-1", "gpt-2\x1b[31m"])

    async def handler(_server: Server, _request: web.Request) -> web.StreamResponse:
        return completion("7", model=next(names), system_fingerprint="fp")

    async with asking(handler, tmp_path, on_trouble=told.append, **PRICES) as (_, client):
        for n in range(5):
            reply = await ask(client, str(n))
        client._ledger.close()

    assert len(told) == 1 and "answered by gpt-2" in told[0] and "before by gpt-1 fp" in told[0]
    assert "\x1b" not in told[0] and reply.fingerprint == "fp"
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert {name for name, _ in ledger.answerers[MODEL]} == {"gpt-1", reply.model}
    ledger.close()


ENDS = {
    "broken": [
        "insufficient_system_resource",
        "abort",
        "network_error",
        "ERROR",
        "TIMEOUT",
        "ERROR_LIMIT",
        "cancelled",
    ],
    "cut": ["model_length", "model_context_window_exceeded", "max_output_tokens"],
    "refused": ["SAFETY", "RECITATION", "guardrail_intervened"],
    "whole": ["eos", "stop_sequence", "COMPLETE", "end_turn", "x"],
}


@pytest.mark.parametrize(("kind", "reason"), [(kind, reason) for kind, reasons in ENDS.items() for reason in reasons])
async def test_a_completion_is_whole_only_if_it_ended_by_itself(
    kind: str, reason: str, tmp_path: Path, slept: list[float]
) -> None:
    handler = always(lambda: ended(reason, "half an"), lambda: completion("whole"))
    async with asking(handler, tmp_path) as (server, client):
        assert (await ask(client)).text == ("half an" if kind == "whole" else "whole")

    assert len(server.bodies) == (1 if kind == "whole" else 2)


BILLED = {
    "own key": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "cost": 0.01,
            "is_byok": True,
            "cost_details": {"upstream_inference_cost": 0.5},
        },
        0.51,
    ),
    "cost": ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0.5}, 0.5),
    "no cost": ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0}, COST),
    "odd cost": ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": -4}, COST),
    "thoughts in the total": ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}, 10e-6 + 105e-5),
}


@pytest.mark.parametrize("name", BILLED)
async def test_what_a_provider_bills_is_booked(name: str, tmp_path: Path) -> None:
    usage, cost = BILLED[name]
    async with asking(always(lambda: completion("7", usage=usage)), tmp_path, **PRICES) as (_, client):
        assert (await ask(client)).cost_usd == pytest.approx(cost)

    assert client.spent == pytest.approx(cost)


async def test_a_cached_prompt_costs_what_the_price_list_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "planted-0123456789")
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 10,
        "total_tokens": 1010,
        "prompt_tokens_details": {"cached_tokens": 800},
    }
    async with serving(always(lambda: completion("7", usage=usage))) as server:
        model = "openai/gpt-4o"
        client = Client(Service(model=model, api_base=server.base), Ledger(tmp_path / "ledger.sqlite"))
        reply = await client.complete([{"role": "user", "content": "?"}], model=model, max_tokens=50, temperature=0.0)

    assert reply.cost_usd == pytest.approx(200 * 2.5e-6 + 800 * 1.25e-6 + 10 * 10e-6)


async def test_a_reply_that_the_provider_broke_off_is_billed_and_asked_again(
    tmp_path: Path, slept: list[float]
) -> None:
    message = {"role": "assistant", "content": "7"}
    broken = {"index": 0, "finish_reason": "error", "error": {"code": 502}, "message": message}
    handler = always(lambda: completion("", choices=[broken]), lambda: completion("8"))
    async with asking(handler, tmp_path, **PRICES) as (_, client):
        assert await ask_number(client) == 8

    assert client.spent == pytest.approx(2 * COST)


async def test_an_error_in_a_response_with_status_200_costs_nothing(tmp_path: Path, slept: list[float]) -> None:
    body = json.dumps({"error": {"code": 429, "message": "slow down"}})
    handler = always(lambda: web.Response(text=body, content_type="application/json"), lambda: completion("7"))
    async with asking(handler, tmp_path, **PRICES) as (_, client):
        assert await ask_number(client) == 7

    assert client.spent == pytest.approx(COST) and client.usage.failed_calls == 1


async def test_empty_replies_in_mid_run_are_waited_out(tmp_path: Path, slept: list[float]) -> None:
    """A service that answers all with nothing for five minutes: nobody is left out, and one request asks for all."""
    told: list[str] = []

    async def handler(server: Server, _request: web.Request) -> web.StreamResponse:
        return ended("stop") if len(server.bodies) > 20 and sum(slept) < 300 else completion("7")

    async with asking(handler, tmp_path, on_trouble=told.append) as (server, client):
        replies = await asyncio.gather(*(ask(client, str(n)) for n in range(80)))

    assert [reply.text for reply in replies] == ["7"] * 80
    assert len(server.bodies) < 80 + 64 + 60
    assert sum("answers no request any more" in line for line in told) == 1


async def test_empty_replies_for_ever_end_with_the_patience(tmp_path: Path, slept: list[float]) -> None:
    async def handler(server: Server, _request: web.Request) -> web.StreamResponse:
        return ended("stop") if len(server.bodies) > 20 else completion("7")

    async with asking(handler, tmp_path, patience_s=100) as (server, client):
        ends = await asyncio.gather(*(ask(client, str(n)) for n in range(80)), return_exceptions=True)

    assert sum(isinstance(end, ParsingError) for end in ends) == 60
    assert 60 < sum(slept) < 160 and len(server.bodies) < 80 + 40
