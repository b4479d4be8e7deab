import asyncio
import json
from pathlib import Path

import pytest
from scripted import always, completion, serving

from engine.protocol import jsonl
from engine.protocol.errors import InputError
from engine.protocol.events import BudgetChanged, Event, EventReader, Log, QuestionAsked
from engine.protocol.manifest import manifest
from engine.protocol.rows import Response
from engine.protocol.run_dir import Run, create
from engine.protocol.stages import JUDGE
from engine.protocol.status import State
from engine.settings import budget as module
from engine.settings import schema
from engine.settings.budget import Caps, changes
from engine.settings.load import settings_of
from engine.settings.template import render
from engine.stages import judge
from engine.worker.process import Worker

SCORES = json.dumps({name: {"score": 80, "reason": "x"} for name in ("similarity_assessment", "precision_assessment")})


def new_run(folder: Path, **service: object) -> Run:
    (folder / "a.jsonl").write_text("")
    settings = schema.Migration.model_validate(
        {
            "coverage": {"source": str(folder / "a.jsonl")},
            "service": {"model": "openai/scripted", "cache": False, **service},
            "judge": {"repeats": 1},
        }
    )
    return create(folder, "run", render(settings))


def change(run: Run, before: str, after: str) -> None:
    text = run.settings_file.read_text()
    assert before in text
    jsonl.replace(run.settings_file, text.replace(before, after))


def responses(run: Run, count: int) -> None:
    path = run.round(0) / "infer" / "responses.jsonl"
    prompt = [{"role": "user", "content": "Say x."}]
    rows = [
        Response(
            id=f"p{n}",
            sample=0,
            prompt=prompt,
            target="x",
            response=f"answer {n}",
            finish_reason="stop",
            prompt_tokens=3,
            completion_tokens=1,
            model="m",
            adapter="",
        )
        for n in range(count)
    ]  # type: ignore[arg-type]
    jsonl.write(path, (row.to_row() for row in rows))


async def found(reader: EventReader, kind: type[Event]) -> Event:
    """The first new event of a kind."""
    async with asyncio.timeout(60):
        while True:
            if event := next((event for event in reader.read_new() if isinstance(event, kind)), None):
                return event
            await asyncio.sleep(0.01)


async def test_at_half_of_what_a_round_needs_the_run_waits_and_goes_on_after_the_cap_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    async with serving(always(lambda: completion(SCORES, prompt_tokens=1000))) as server:
        prices = {"input_price": 1000.0, "output_price": 0.0}
        run = new_run(tmp_path, api_base=server.base, budget_usd=5.0, **prices)
        worker, reader, out = Worker(run, yes=True), EventReader(run.events_file), run.round(0) / "judge"
        async with worker._service():
            responses(run, 10)
            working = asyncio.create_task(worker.stage(JUDGE, 0, judge.run))
            event = await found(reader, QuestionAsked)

            assert isinstance(event, QuestionAsked) and "of $5.00 are spent" in event.question.reason
            assert (event.question.cap, 5.0 < event.question.least <= 6.1) == ("usd", True)
            assert (run.status().state, run.status().question) == (State.WAITING, event.question)
            assert 1.0 <= worker.client.usage.cost_usd <= 5.0
            assert not working.done() and manifest(out) is None
            asked = len(server.bodies)
            module.write(run, usd=50.0)
            await working
            async with asyncio.timeout(60):  # the question is closed a moment after the calls go on
                while run.status().question is not None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

        assert (run.status().state, run.status().question) == (State.RUNNING, None)
        told = [event for event in reader.read_new() if isinstance(event, BudgetChanged)]
        assert [(event.usd, event.calls) for event in told] == [(50.0, None)]
    assert asked < 10 == len(server.bodies)
    assert worker.client.usage.cost_usd == pytest.approx(10.0)


async def test_changes_of_the_caps_are_seen_and_mistakes_are_told(tmp_path: Path) -> None:
    run, told = new_run(tmp_path, budget_usd=5.0), asyncio.Queue[Event]()
    watching = changes(run, Caps(5.0, None), told.put_nowait)
    first = asyncio.create_task(anext(watching))
    await asyncio.sleep(0)
    change(run, "budget_usd = 5.0", "budget_usd = lots")
    async with asyncio.timeout(60):
        warning = await told.get()
    assert isinstance(warning, Log) and warning.level == "warning" and "cannot be read" in warning.message
    change(run, "budget_usd = lots", "budget_usd = 7.5\nbudget_calls = 40")
    text = run.settings_file.read_text()
    jsonl.replace(run.settings_file, text.replace("#budget_calls =", "#"))
    async with asyncio.timeout(60):
        assert await first == Caps(7.5, 40)

    assert told.empty()
    assert str(Caps(7.5, 40)) == "$7.50, 40 calls"
    assert (str(Caps(1.0, None)), str(Caps(None, 4000))) == ("$1.00", "4,000 calls")
    assert str(Caps(None, None)) == "no limit"


def test_caps_are_written_where_they_belong_and_comments_stay(tmp_path: Path) -> None:
    run = new_run(tmp_path, budget_usd=5.0, params={"top_p": 0.5})
    before = run.settings_file.read_text()
    assert module.write(run, calls=40) == Caps(5.0, 40)
    assert module.write(run, usd=7.5) == Caps(7.5, 40)

    after = run.settings_file.read_text()
    assert {line for line in before.splitlines() if line.startswith("#")} <= set(after.splitlines())
    service = settings_of(run).service
    assert (service.budget_usd, service.budget_calls, service.params) == (7.5, 40, {"top_p": 0.5})


def test_caps_are_not_written_into_settings_that_cannot_be_read(tmp_path: Path) -> None:
    run = new_run(tmp_path, budget_usd=5.0)
    change(run, "budget_usd = 5.0", "budget_usd = lots")
    before = run.settings_file.read_text()
    with pytest.raises(InputError):
        module.write(run, usd=7.5)
    assert run.settings_file.read_text() == before
