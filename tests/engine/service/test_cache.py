import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace
from scripted import always, completion, serving

from engine.service import cache as module
from engine.service.cache import Cache, cache_file
from engine.service.client import Client
from engine.service.completion import Completion, Request
from engine.service.ledger import Ledger, Totals
from engine.settings.schema import Service

REQUEST = Request(model="m", messages=[{"role": "user", "content": "x"}], max_tokens=9)
AGAIN = replace(REQUEST, repeat=1)
REPLY = Completion("hi", "stop", 10, 5, 0.25)
MODEL = "openai/scripted"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLAMADUO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")


async def ask(client: Client, text: str = "hello", model: str = MODEL) -> Completion:
    return await client.complete([{"role": "user", "content": text}], model=model, max_tokens=5, temperature=0.0)


async def test_a_reply_costs_nothing_the_second_time() -> None:
    cache = Cache(cache_file())
    assert await cache.completion(REQUEST, "a") is None
    await cache.record(REQUEST, "a", REPLY)

    assert await cache.completion(REQUEST, "a") == Completion("hi", "stop", 0, 0, 0.0, cached=True)
    assert await cache.completion(REQUEST, "b") is None
    assert await cache.completion(AGAIN, "a") is None
    cache.close()
    assert oct(cache_file().stat().st_mode & 0o777) == "0o600"


async def test_another_run_asks_nothing_and_its_ledger_keeps_the_reply(tmp_path: Path) -> None:
    cache = Cache(cache_file())
    async with serving(always(lambda: completion("hi"))) as server:
        settings = Service(model=MODEL, api_base=server.base, input_price=1, output_price=1)
        first, second = (Ledger(tmp_path / name) for name in ("a.sqlite", "b.sqlite"))
        assert not (await ask(Client(settings, first, cache=cache))).cached
        client = Client(settings, second, cache=cache)
        assert (await ask(client)).cached
        assert (client.usage.calls, client.usage.cached_calls, client.usage.cost_usd) == (0, 1, 0.0)
        assert (await ask(Client(settings, second))).cached

    assert len(server.bodies) == 1
    assert second.totals() == Totals()


async def test_the_sandbox_is_asked_anew() -> None:
    cache = Cache(cache_file())
    async with serving(always(lambda: completion("hi"))) as server:
        for name in ("a.sqlite", "b.sqlite"):
            settings = Service(model="sandbox", api_base=server.base)
            await ask(Client(settings, Ledger(cache_file().with_name(name)), cache=cache), model="sandbox")

    assert len(server.bodies) == 2


async def test_a_broken_cache_stops_nobody(tmp_path: Path) -> None:
    cache, troubles = Cache(cache_file()), list[str]()
    with sqlite3.connect(cache_file()) as another:
        another.execute("DROP TABLE replies")
    async with serving(always(lambda: completion("hi"))) as server:
        settings = Service(model=MODEL, api_base=server.base, input_price=1, output_price=1)
        client = Client(settings, Ledger(tmp_path / "a.sqlite"), cache=cache, on_trouble=troubles.append)
        assert (await ask(client)).text == "hi"
        assert (await ask(client, "another")).text == "hi"

    assert len(troubles) == 1 and "reply cache is off" in troubles[0]


async def test_shown_and_pruned(capsys: pytest.CaptureFixture[str]) -> None:
    assert module.main(["show"]) == 0
    assert "the reply cache is empty" in capsys.readouterr().out
    cache = Cache(cache_file())
    await cache.record(REQUEST, "a", REPLY)
    await cache.record(AGAIN, "a", REPLY)
    cache.close()
    with sqlite3.connect(cache_file()) as another:
        another.execute("UPDATE replies SET stored = 0 WHERE rowid = 1")

    module.main(["show"])
    assert "       2  m, since 1970-01-01" in capsys.readouterr().out
    module.main(["prune", "--days", "30"])
    assert capsys.readouterr().out == "1 reply deleted\n"
    module.main(["prune"])
    assert capsys.readouterr().out == "1 reply deleted\n"
    module.main(["prune"])
    assert capsys.readouterr().out == "0 replies deleted\n"


@pytest.mark.parametrize("command", ["show", "prune"])
def test_a_file_that_is_no_cache_is_told_in_a_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    cache_file().parent.mkdir(parents=True, exist_ok=True)
    cache_file().write_text("no database " * 100)

    assert module.main([command]) == 1
    assert capsys.readouterr().err.splitlines()[0] == f"error: {cache_file()}: file is not a database"
