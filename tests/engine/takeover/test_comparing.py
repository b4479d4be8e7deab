"""Comparisons through a door in shadow and canary: what is judged, what it costs, and where it leads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from door_sides import Opened, Side, door

from engine.protocol.takeover import DoorCommand, Mode, send
from engine.takeover import journal
from engine.takeover.standing import Standing


async def until(happens: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not happens():  # noqa: ASYNC110 - comparisons in the background set no event
            await asyncio.sleep(0.01)


def compared(opened: Opened) -> list[tuple[object, ...]]:
    return journal.rows(opened.at.journal, "SELECT difference, same, note, prompt FROM compared")


async def test_the_same_answer_costs_nothing(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.SHADOW, compare=1.0, service=Side("service", text="Yes."),
                    local=Side("local", text=" yes. ")) as opened:  # fmt: skip
        _, headers, _ = await opened.ask()
        assert headers["x-llamaduo-answered-by"] == "service"
        await until(lambda: compared(opened) == [(0.0, 1, "same", None)])
        assert len(opened.service.seen) == 1
        opened.parts.standing.obey()
        state = opened.parts.standing.state
        assert (state.compared, state.agreed) == (1, 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_other_answers_are_judged_each_by_itself(tmp_path: Path, stream: bool) -> None:
    service = Side("service", scores={"service answers": 90, "local answers": 60})
    async with door(tmp_path, Mode.SHADOW, compare=1.0, service=service, contents=True) as opened:
        await opened.ask("the question", stream=stream)
        await until(lambda: compared(opened) == [(-30.0, 0, "judged", "the question")])


async def test_a_broken_contract_and_a_missing_answer_count_as_the_worst(tmp_path: Path) -> None:
    service = Side("service", text='{"a": 1}')
    async with door(tmp_path, Mode.SHADOW, contract='format = "json"', compare=1.0, service=service) as opened:
        await opened.ask()
        await until(lambda: len(compared(opened)) == 1)
        opened.local.fault = "500"
        await opened.ask()
        await until(lambda: len(compared(opened)) == 2)
        assert [row[0] for row in compared(opened)] == [-99.0, -99.0]
        assert "status 500" in opened.rows("reason")[1][0]
        await opened.servers["local"].close()
        await opened.ask()
        await until(lambda: "no connection" in opened.rows("reason")[2][0])
        assert len(compared(opened)) == 2, "a server that is away says nothing of its answers"


async def test_a_bad_model_is_rolled_back_by_itself(tmp_path: Path) -> None:
    """The journal says who did it and why; afterwards the service answers everything."""
    async with door(tmp_path, Mode.CANARY, contract='format = "json"', compare=1.0,
                    service=Side("service", text='{"a": 1}')) as opened:  # fmt: skip
        while not opened.parts.standing.state.rolled_back:
            await asyncio.gather(*(opened.ask() for _ in range(8)))
            asked = len(opened.rows("id"))
            await until(lambda: bool(opened.parts.standing.state.rolled_back) or len(compared(opened)) >= asked)  # noqa: B023
        assert len(opened.rows("id")) < 200
        opened.local.seen.clear()
        _, headers, _ = await opened.ask()
        assert headers["x-llamaduo-answered-by"] == "service"
        assert opened.local.seen == []
        ((who, what, why),) = journal.rows(opened.at.journal, "SELECT who, what, why FROM changes")
        assert (who, what) == ("door", "roll-back")
        assert "more than 2 points worse" in str(why)
        send(opened.at, DoorCommand(kind="mode", mode=Mode.CANARY, who="anna"))
        opened.parts.standing.obey()
        assert (opened.parts.standing.state.rolled_back, opened.parts.standing.state.share) == ("", 0.02)


async def test_a_canary_moves_the_share_that_people_set(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.CANARY) as opened:
        standing = opened.parts.standing
        send(opened.at, DoorCommand(kind="share", share=1.0, who="anna"))
        standing.obey()
        assert (await opened.ask())[1]["x-llamaduo-answered-by"] == "local"
        send(opened.at, DoorCommand(kind="pause", who="ben"))
        standing.obey()
        assert (await opened.ask())[1]["x-llamaduo-answered-by"] == "service"
        send(opened.at, DoorCommand(kind="resume", who="ben"))
        send(opened.at, DoorCommand(kind="share", share=0.0, who="anna"))
        standing.obey()
        standing.obey()
        assert (await opened.ask())[1]["x-llamaduo-answered-by"] == "service"
        changes = journal.rows(opened.at.journal, "SELECT who, what FROM changes ORDER BY rowid")
        assert changes == [("anna", "share 100 %"), ("ben", "pause"), ("ben", "resume"), ("anna", "share 0 %")]


async def test_a_key_that_is_held_changes_once(tmp_path: Path) -> None:
    async with door(tmp_path, Mode.CANARY) as opened:
        for kind in ("pause", "pause", "resume", "resume", "roll-back", "roll-back", "roll-back"):
            command = DoorCommand(kind=kind, who="anna")  # type: ignore[arg-type]
            send(opened.at, command)
            opened.parts.standing.obey()
            assert opened.parts.standing.state.obeyed == command.id
        changes = [what for (what,) in journal.rows(opened.at.journal, "SELECT what FROM changes ORDER BY rowid")]
        assert changes == ["pause", "resume", "roll-back"]
        command = DoorCommand(kind="mode", who="anna", mode=Mode.CANARY)
        send(opened.at, command)
        opened.parts.standing.obey()
        successor = Standing(opened.at, Mode.CANARY, 3.0, opened.parts.journal)
        await successor.resume()
        successor.obey()
        assert not successor.state.rolled_back and not successor.state.paused, "the key's repeats are not obeyed later"


async def test_a_used_up_budget_ends_all_comparisons(tmp_path: Path) -> None:
    service = Side("service", scores={"service answers": 90, "local answers": 60})
    async with door(tmp_path, Mode.SHADOW, compare=1.0, budget_usd=0.0, service=service) as opened:
        await opened.ask()
        comparer = opened.parts.comparer
        assert comparer is not None
        await until(lambda: comparer.held != "")
        assert "budget" in comparer.held
        assert not comparer.ready
        await opened.ask()
        assert compared(opened) == []
        assert len(opened.service.seen) == 2
