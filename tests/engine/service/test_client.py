import asyncio
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from calling import KEY, MODEL, ask, asking, calls_in_flight, client_of, until
from scripted import Handler, always, completion, error, prompt_of, reset, serving
from scripted import Service as Server

from engine.protocol.errors import ServiceError
from engine.protocol.rows import Message
from engine.service.client import Client
from engine.service.completion import Completion
from engine.service.faults import RefusedError
from engine.service.ledger import Ledger
from engine.service.limiter import FIRST_CALLS
from engine.settings.schema import Service


async def test_the_key_and_the_parameters_are_sent(tmp_path: Path) -> None:
    seen: list[str] = []

    async def handler(_server: Server, request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Authorization"])
        return completion("hi")

    async with asking(handler, tmp_path, params={"top_p": 0.5}) as (server, client):
        reply = await ask(client)

    assert reply == Completion("hi", "stop", 10, 5, 0.0, model="scripted")
    assert seen == [f"Bearer {KEY}"]
    (body,) = server.bodies
    assert (body["model"], body["top_p"], body["max_tokens"], body["temperature"]) == ("scripted", 0.5, 50, 0.0)


@pytest.mark.parametrize(
    ("model", "params", "sent"),
    [("openai/gpt-4-turbo", {}, 4096), ("openai/gpt-4-turbo", {"max_tokens": 5000}, 5000), (MODEL, {}, 8192)],
)
async def test_no_more_is_asked_for_than_a_model_can_write(
    model: str, params: dict[str, int], sent: int, tmp_path: Path
) -> None:
    """It would refuse the request; what the user asks for is the user's."""
    async with serving(always(lambda: completion("hi"))) as server:
        settings = Service(model=model, api_base=server.base, api_key_env="SCRIPTED_API_KEY", params=params)
        client = Client(settings, Ledger(tmp_path / "ledger.sqlite"))
        messages: list[Message] = [{"role": "user", "content": "hello"}]
        await client.complete(messages, model=model, max_tokens=8192, temperature=0.0)

    assert server.bodies[0]["max_tokens"] == sent


async def test_a_request_is_paid_once_by_this_client_and_the_next(tmp_path: Path) -> None:
    async with asking(always(lambda: completion("hi")), tmp_path, input_price=1, output_price=2) as (server, client):
        first = await ask(client)
        again = await ask(client)
        another = client_of(server, tmp_path, input_price=1, output_price=2)
        later = await ask(another)

    assert len(server.bodies) == 1
    assert first.cost_usd == pytest.approx(20e-6)
    assert again.cached and later.cached and not first.cached
    assert (client.usage.calls, client.usage.cached_calls, client.usage.prompt_tokens) == (1, 1, 10)
    assert (another.usage.calls, another.usage.cached_calls, another.usage.cost_usd) == (1, 1, first.cost_usd)


async def test_repeats_and_other_parameters_are_other_requests(tmp_path: Path) -> None:
    async with asking(always(lambda: completion("hi")), tmp_path) as (server, client):
        await ask(client)
        await ask(client, repeat=1)
        await ask(client, max_tokens=51)

    assert len(server.bodies) == 3


def gated(gate: asyncio.Event) -> Handler:
    async def handler(_server: Server, _request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return completion("hi")

    return handler


async def test_two_at_once_are_sent_once(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with asking(gated(gate), tmp_path) as (server, client):
        two = asyncio.gather(ask(client), ask(client))
        await server.asked.wait()
        gate.set()
        replies = await two

    assert len(server.bodies) == 1
    assert [reply.text for reply in replies] == ["hi", "hi"]
    assert (client.usage.calls, client.usage.cached_calls) == (1, 1)


async def test_one_of_two_is_cancelled_and_the_other_gets_its_answer(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with asking(gated(gate), tmp_path) as (server, client):
        first, second = asyncio.create_task(ask(client)), asyncio.create_task(ask(client))
        await server.asked.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.set()
        reply = await second

    assert reply.text == "hi"


async def test_both_of_two_learn_of_a_failure(tmp_path: Path) -> None:
    async with asking(always(lambda: error(401)), tmp_path) as (server, client):
        failures = await asyncio.gather(ask(client), ask(client), return_exceptions=True)

    assert [type(failure) for failure in failures] == [ServiceError, ServiceError]
    assert len(server.bodies) == 1


async def test_cancelled_in_mid_call_it_counts_against_the_budget_and_is_priced_when_asked_again(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    price = {"input_price": 1.0, "output_price": 10.0}
    most, cost = 521e-6, 60e-6
    async with asking(gated(gate), tmp_path, budget_usd=2 * most + 1e-9, **price) as (server, client):
        call = asyncio.create_task(ask(client))
        await server.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert client.usage.calls == 0
        assert client.spent == pytest.approx(most)
        gate.set()
        reply = await ask(client)
        assert client.spent == pytest.approx(2 * cost)
        client._ledger.close()
        again = client_of(server, tmp_path, budget_usd=1.0, **price)

    assert reply.text == "hi" and not reply.cached
    assert len(server.bodies) == 2
    assert (again.spent, again._budget._calls_used) == (pytest.approx(2 * cost), 2)


async def test_a_call_that_waits_for_its_turn_costs_nothing_when_it_is_cancelled(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with asking(always(lambda: completion("hi")), tmp_path, gate=gate, input_price=1, output_price=9) as (
        _,
        client,
    ):
        call = asyncio.create_task(ask(client))
        await until(lambda: bool(calls_in_flight(tmp_path)))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        client._ledger.close()

    assert calls_in_flight(tmp_path) == []


async def test_calls_in_flight_at_a_crash_count_against_the_caps(tmp_path: Path) -> None:
    """The crash is a ledger that was left as it was with calls abroad."""
    gate, told = asyncio.Event(), list[Any]()
    prices = {"input_price": 1.0, "output_price": 10.0}
    async with asking(gated(gate), tmp_path, **prices) as (server, client):
        calls = [asyncio.create_task(ask(client, text)) for text in ("one", "two")]
        await until(lambda: server.at_work == 2)
        (crashed := tmp_path / "crashed").mkdir()
        shutil.copy(tmp_path / "ledger.sqlite", crashed)
        gate.set()
        await asyncio.gather(*calls)
        assert calls_in_flight(tmp_path) == [] and len(calls_in_flight(crashed)) == 2

        capped = client_of(server, crashed, budget_calls=3, on_used_up=told.append, on_trouble=told.append, **prices)
        assert (capped.usage.calls, capped.usage.cost_usd) == (0, 0.0)
        await ask(capped, "one")
        over = asyncio.create_task(ask(capped, "three"))
        await until(lambda: len(told) == 2)
        assert told[0] == "2 interrupted calls count against the budget, up to $0.0010"
        assert (told[1].used, told[1].least) == (3, 4)
        over.cancel()
        await asyncio.wait([over])


async def test_retry_after_is_kept_and_nobody_else_starts(tmp_path: Path, slept: list[float]) -> None:
    handler = always(lambda: error(429, Retry_After="17"), lambda: completion("hi"))
    async with asking(handler, tmp_path) as (server, client):
        replies = await asyncio.gather(ask(client), ask(client, "other"))

    assert [reply.text for reply in replies] == ["hi", "hi"]
    assert max(slept) == pytest.approx(17, abs=0.5)
    assert len(server.bodies) == 3
    assert client.usage.failed_calls == 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520, 529])
async def test_what_passes_is_tried_again(status: int, tmp_path: Path, slept: list[float]) -> None:
    handler = always(lambda: error(status), lambda: error(status), lambda: completion("hi"))
    async with asking(handler, tmp_path) as (_, client):
        assert (await ask(client)).text == "hi"

    assert client.usage.failed_calls == 2
    assert len([pause for pause in slept if pause > 0.1]) >= 2


BROKEN = {
    "half a JSON": lambda: web.Response(text='{"choices": [', content_type="application/json"),
    "a page": lambda: web.Response(text="<html>", content_type="text/html"),
    "a list": lambda: web.json_response([1]),
    "no choice": lambda: completion("", choices=[]),
    "null for choices": lambda: completion("", choices=None),
    "content in parts": lambda: completion([{"type": "text", "text": "x"}]),
    "words for tokens": lambda: completion("x", usage={"prompt_tokens": "many", "completion_tokens": 1}),
    "another server": lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}),
}


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_answer_is_tried_again(name: str, tmp_path: Path, slept: list[float]) -> None:
    async with asking(always(BROKEN[name], lambda: completion("hi")), tmp_path) as (_, client):
        assert (await ask(client)).text == "hi"


async def test_a_reset_is_tried_again(tmp_path: Path, slept: list[float]) -> None:
    async def handler(server: Server, request: web.Request) -> web.StreamResponse:
        if len(server.bodies) == 1:
            assert request.transport is not None
            request.transport.abort()
        return completion("hi")

    async with asking(handler, tmp_path) as (server, client):
        assert (await ask(client)).text == "hi"

    assert len(server.bodies) == 2


async def test_a_reset_in_mid_answer_is_tried_again(tmp_path: Path, slept: list[float]) -> None:
    async def handler(server: Server, request: web.Request) -> web.StreamResponse:
        return completion("hi") if len(server.bodies) > 1 else await reset(server, request)

    async with asking(handler, tmp_path) as (server, client):
        assert (await ask(client)).text == "hi"

    assert len(server.bodies) == 2 and client.usage.failed_calls == 1


async def test_a_name_that_does_not_exist_is_told_at_once(tmp_path: Path, slept: list[float]) -> None:
    client = client_of(Server(always(), base="http://nowhere.invalid/v1"), tmp_path)
    with pytest.raises(ServiceError, match="the host's name is not found") as failed:
        await ask(client)

    client._ledger.close()
    assert "check the host in api_base" in failed.value.hint
    assert slept == [] and calls_in_flight(tmp_path) == []


async def test_nobody_at_the_address_is_waited_for(tmp_path: Path, slept: list[float]) -> None:
    client = client_of(Server(always(), base="http://127.0.0.1:9/v1"), tmp_path, patience_s=100)
    with pytest.raises(ServiceError, match="cannot be reached: connection refused") as failed:
        await ask(client)

    client._ledger.close()
    assert "check the network, api_base" in failed.value.hint
    assert 60 < sum(slept) <= 100 and calls_in_flight(tmp_path) == []


async def test_a_timeout_is_tried_again(tmp_path: Path, slept: list[float]) -> None:
    async def handler(server: Server, _request: web.Request) -> web.StreamResponse:
        if len(server.bodies) == 1:
            await asyncio.Event().wait()
        return completion("hi")

    async with asking(handler, tmp_path, timeout_s=0.3) as (server, client):
        assert (await ask(client)).text == "hi"

    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("response", "hint"),
    [
        (lambda: error(401), "SCRIPTED_API_KEY"),
        (lambda: error(403), "SCRIPTED_API_KEY"),
        (lambda: error(404), "model name"),
        (lambda: error(400, "unknown parameter"), "[service]"),
        (lambda: error(422, "malformed"), "params"),
        (lambda: error(402, "pay first"), "top up"),
        (lambda: error(429, "You exceeded your current quota", "insufficient_quota"), "top up"),
    ],
)
async def test_what_stays_fails_at_once(response: Any, hint: str, tmp_path: Path, slept: list[float]) -> None:
    async with asking(always(response), tmp_path) as (_, client):
        with pytest.raises(ServiceError) as caught:
            await ask(client)

    assert MODEL in caught.value.message
    assert hint in caught.value.hint
    assert sum(slept) < 5


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.", None),
        ("Too long", "context_length_exceeded"),
        ("Flagged", "invalid_prompt"),
        ("The request was rejected as a result of the safety system", "content_policy_violation"),
    ],
)
async def test_a_prompt_that_will_not_be_answered_is_refused_alone(said: str, code: str | None, tmp_path: Path) -> None:
    async with asking(always(lambda: error(400, said, code)), tmp_path) as (server, client):
        with pytest.raises(RefusedError, match=said[:20]):
            await ask(client)

    assert len(server.bodies) == 1


@pytest.mark.parametrize("answered_before", [False, True])
async def test_a_service_that_stays_away_is_given_up(answered_before: bool, tmp_path: Path, slept: list[float]) -> None:
    """The user's patience holds from the first call on."""
    responses = [lambda: completion("hi")] * answered_before
    async with asking(always(*responses, lambda: error(503)), tmp_path, patience_s=100) as (_, client):
        if answered_before:
            await ask(client, "before")
        with pytest.raises(ServiceError, match="still fails after 100 s"):
            await ask(client)

    assert 60 < sum(slept) <= 100


async def test_waiting_for_a_turn_does_not_use_up_the_patience(tmp_path: Path, slept: list[float]) -> None:
    """With few requests a minute the last of many waits for hours, and a fault is then still its first."""
    faulty = {"last"}

    async def handler(server: Server, request: web.Request) -> web.StreamResponse:
        prompt = await prompt_of(request)
        if prompt in faulty:
            faulty.discard(prompt)
            return error(500)
        return completion("hi")

    async with asking(handler, tmp_path, rpm=1, concurrency=1, patience_s=30) as (_, client):
        replies = await asyncio.gather(*(ask(client, text) for text in ("a", "b", "c", "last")))

    assert [reply.text for reply in replies] == ["hi"] * 4
    assert sum(slept) > 180


async def test_the_key_is_never_told(
    tmp_path: Path, slept: list[float], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    troubles: list[str] = []
    for status in (400, 401, 403, 404, 500, 529):
        async with asking(always(lambda status=status: error(status, f"bad key {KEY} in Bearer {KEY}")), tmp_path) as (
            server,
            _,
        ):
            settings = Service(model=MODEL, api_base=server.base, api_key_env="SCRIPTED_API_KEY", patience_s=30)
            client = Client(settings, Ledger(tmp_path / "ledger.sqlite"), on_trouble=troubles.append)
            with pytest.raises(ServiceError) as caught:
                await ask(client)
        assert KEY not in f"{caught.value} {caught.value.message} {caught.value.hint}"
        assert "$SCRIPTED_API_KEY" in caught.value.message
        assert caught.value.__cause__ is None and caught.value.__suppress_context__

    assert troubles and not any(KEY in trouble for trouble in troubles)
    assert KEY not in (tmp_path / "ledger.sqlite").read_bytes().decode(errors="replace")
    captured = capfd.readouterr()
    assert KEY not in captured.out + captured.err
    assert not any(KEY in record.getMessage() for record in caplog.records if record.name != "aiohttp.access")


async def test_the_budget_is_never_passed_and_a_higher_one_goes_on(tmp_path: Path) -> None:
    """Many at once, each reserving far more than it costs: they wait for each other, then for a higher cap."""
    # A call reserves some 60 + 50 tokens at $1 each a thousand, and takes 15 of them.
    prices = {"input_price": 1000.0, "output_price": 1000.0, "budget_usd": 0.2}
    used_up = asyncio.Event()
    async with serving(always(lambda: completion("hi"))) as server:
        client = client_of(server, tmp_path, on_used_up=lambda _: used_up.set(), concurrency=16, **prices)
        calls = [asyncio.create_task(ask(client, f"question {n}")) for n in range(40)]
        await used_up.wait()
        answered = [call.result() for call in calls if call.done()]
        assert len(answered) == len(server.bodies) == client.usage.calls
        assert 0.09 < sum(reply.cost_usd for reply in answered) == pytest.approx(client.usage.cost_usd)
        assert client.usage.cost_usd <= 0.2
        await client.cap(5.0, None)
        replies = await asyncio.gather(*calls)

    assert len(replies) == len(server.bodies) == 40
    assert client.usage.cost_usd == pytest.approx(40 * 0.015)


async def test_calls_are_capped_and_counted_over_all_lives(tmp_path: Path) -> None:
    used_up = asyncio.Event()
    async with serving(always(lambda: completion("hi"))) as server:
        await ask(client_of(server, tmp_path))
        client = client_of(server, tmp_path, on_used_up=lambda _: used_up.set(), budget_calls=3)
        calls = [asyncio.create_task(ask(client, f"question {n}")) for n in range(9)]
        await used_up.wait()
        assert len(server.bodies) == 3
        assert (await ask(client)).cached
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("text", ["漢" * 300, "🦙" * 300, "a" * 1200])
async def test_a_prompt_reserves_at_least_a_token_a_byte(text: str, tmp_path: Path) -> None:
    """A character of some scripts is more than one token: only bytes are a bound."""
    prices = {"input_price": 1000.0, "output_price": 1000.0}
    budget = len(text.encode()) / 1000
    used_up = asyncio.Event()
    async with serving(always(lambda: completion("hi"))) as server:
        client = client_of(server, tmp_path, on_used_up=lambda _: used_up.set(), budget_usd=budget, **prices)
        call = asyncio.create_task(ask(client, text))
        await used_up.wait()
        call.cancel()

    assert server.bodies == []


@pytest.mark.parametrize("tokens", [None, 0, -3, 10**9, 10**30])
async def test_an_answer_without_a_sensible_count_is_booked_by_our_own(tokens: int | None, tmp_path: Path) -> None:
    usage = None if tokens is None else {"prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": tokens}
    response = lambda: completion("hello there", usage=usage)  # noqa: E731
    async with asking(always(response), tmp_path, input_price=1, output_price=1) as (_, client):
        reply = await ask(client)

    assert 0 < reply.prompt_tokens < 100 and 0 < reply.completion_tokens < 100 and reply.cost_usd > 0


@pytest.mark.parametrize(("content", "text"), [("a\ud800b", "a\ufffdb"), ("a\0b", "a\0b")])
async def test_odd_contents(content: Any, text: str, tmp_path: Path) -> None:
    async with asking(always(lambda: completion(content)), tmp_path) as (_, client):
        assert (await ask(client)).text == text
        assert (await ask(client)).text == text


async def test_half_characters_in_a_prompt_are_replaced(tmp_path: Path) -> None:
    async with asking(always(lambda: completion("hi")), tmp_path) as (server, client):
        await ask(client, "a\udc00b")

    assert server.prompts == ["a\ufffdb"]


async def test_no_more_at_once_than_allowed(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def handler(server: Server, _request: web.Request) -> web.StreamResponse:
        if server.at_work == 3:
            gate.set()
        await gate.wait()
        return completion("hi")

    async with asking(handler, tmp_path, concurrency=3) as (server, client):
        await asyncio.gather(*(ask(client, str(n)) for n in range(12)))

    assert server.most_at_work == 3


async def test_faults_of_the_server_take_no_concurrency(tmp_path: Path, slept: list[float]) -> None:
    responses = [lambda: error(503)] * 5
    async with asking(always(*responses, lambda: completion("hi")), tmp_path) as (_, client):
        await asyncio.gather(*(ask(client, str(n)) for n in range(8)))
        window = client._sender._limiters[MODEL].window

    assert window.size >= FIRST_CALLS


async def test_limits_that_nobody_told_are_found(tmp_path: Path) -> None:
    """A service that works on 12 calls at once and refuses the others, without a word on when to come back."""

    async def handler(server: Server, _request: web.Request) -> web.StreamResponse:
        if server.at_work > 12:
            return error(429, Retry_After="0.05")
        await asyncio.sleep(0.05)
        return completion("hi")

    async with asking(handler, tmp_path) as (_, client):
        replies = await asyncio.gather(*(ask(client, str(n)) for n in range(150)))
        window = client._sender._limiters[MODEL].window

    assert len(replies) == 150
    assert 4 <= window.size <= 24, "a place is held a little longer than the service works"
    assert client.usage.failed_calls < 40


async def test_what_a_minute_allows_is_not_asked_beyond(tmp_path: Path, slept: list[float]) -> None:
    """The headers say that nothing is left: nobody has to be refused to learn it."""
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20s"}

    def response() -> web.Response:
        answer = completion("hi")
        answer.headers.update(headers)
        return answer

    async with asking(always(response, lambda: completion("hi")), tmp_path) as (_, client):
        await ask(client)
        await ask(client, "another")

    assert sum(slept) == pytest.approx(20, abs=0.5)
    async with asking(always(response), tmp_path, rpm=6000) as (_, client):
        before = sum(slept)
        await ask(client, "with a limit of ours")
        await ask(client, "the headers are not needed")
    assert sum(slept) - before < 1


async def test_an_outage_is_waited_for_and_shown(tmp_path: Path, slept: list[float]) -> None:
    """Ten minutes: told at once, then every half minute or so, with since when."""
    troubles: list[str] = []

    async def handler(_server: Server, request: web.Request) -> web.StreamResponse:
        away = await prompt_of(request) != "before" and sum(slept) < 600
        return error(503, "down for maintenance") if away else completion("hi")

    async with serving(handler) as server:
        client = client_of(server, tmp_path, on_trouble=troubles.append, input_price=1, output_price=1)
        await ask(client, "before")
        assert client.usage.silent_since is None
        calls = [asyncio.create_task(ask(client, f"during {n}")) for n in range(3)]
        await until(lambda: client.usage.silent_since is not None)
        since = client.usage.silent_since
        await until(lambda: sum(slept) > 300)
        assert since == client.usage.silent_since
        replies = await asyncio.gather(*calls)
        assert client.usage.silent_since is None

    assert [reply.text for reply in replies] == ["hi"] * 3
    assert 4 <= len(troubles) <= 21
    assert "retrying" in troubles[0]
    assert all(f"waiting for {MODEL}, no reply since " in told and "maintenance" in told for told in troubles[2:])


async def test_answers_count_against_tokens_a_minute(tmp_path: Path, slept: list[float]) -> None:
    response = lambda: completion("hi", prompt_tokens=20, completion_tokens=980)  # noqa: E731
    async with asking(always(response), tmp_path, tpm=6000, concurrency=1) as (_, client):
        for number in range(4):
            await ask(client, f"{number}")

    assert sum(slept) == pytest.approx(30, abs=2)


async def test_the_sandbox_is_free_and_asked_where_it_is(tmp_path: Path) -> None:
    async with serving(always(lambda: completion("hi"))) as server:
        client = Client(Service(model="sandbox"), Ledger(tmp_path / "ledger.sqlite"), sandbox_base=server.base)
        messages: list[Message] = [{"role": "user", "content": "hello"}]
        reply = await client.complete(messages, model="sandbox", max_tokens=5, temperature=0.0)

    assert reply.cost_usd == 0.0
    assert json.dumps(server.bodies[0]["model"]) == '"sandbox"'


async def test_calls_in_flight_are_drained_and_no_other_is_sent(tmp_path: Path) -> None:
    answers, leaves = asyncio.Event(), asyncio.Event()
    leaves.set()
    async with serving(gated(answers)) as server:
        client = client_of(server, tmp_path, gate=leaves)
        first = asyncio.create_task(ask(client, "first"))
        await server.asked.wait()
        leaves.clear()
        second = asyncio.create_task(ask(client, "second"))
        asyncio.get_running_loop().call_later(0.1, answers.set)

        await client.drain()

        assert (await first).text
        assert server.prompts == ["first"]
        second.cancel()
