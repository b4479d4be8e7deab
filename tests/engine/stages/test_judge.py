import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from scripted import Handler, Service, always, completion, error, prompt_of, serving

from engine.protocol import jsonl
from engine.protocol.errors import ServiceError, StageError
from engine.protocol.events import Event, StageProgress
from engine.protocol.manifest import manifest
from engine.protocol.rows import CONTRACT, Response, Verdict
from engine.protocol.run_dir import Run
from engine.protocol.stages import JUDGE
from engine.sandbox.server import Settings, create_app
from engine.service import prompts
from engine.service.client import Client
from engine.service.ledger import Ledger
from engine.service.replies import MOST_REPLIES
from engine.settings.schema import Contract, Migration, Task
from engine.stages import judge
from engine.stages.base import ServiceJob, record
from engine.stages.judge import agree

PROMPTS = prompts.load(None)
COUNTS = {"errors": 0, "refusals": 0, "broken": 0, "spared": 0, "order": "instruction, reference, response"}


def settings(**judging: Any) -> Migration:
    return Migration.model_validate(
        {"coverage": {"source": "a.jsonl"}, "service": {"model": "sandbox"}, "judge": {"repeats": 2, **judging}}
    )


def verdict(similarity: Any = 70, precision: Any = 80) -> web.Response:
    said = {
        "similarity_assessment": {"score": similarity, "reason": "near"},
        "precision_assessment": {"score": precision, "reason": "right"},
    }
    return completion(json.dumps(said))


def responses(folder: Path, *texts: str) -> None:
    path = folder / "round-00" / "infer" / "responses.jsonl"
    prompt = [{"role": "user", "content": "Say $x."}]
    rows = [
        Response(
            id=f"p{n}",
            sample=0,
            prompt=prompt,
            target="x",
            response=text,
            finish_reason="stop",
            prompt_tokens=3,
            completion_tokens=1,
            model="m",
            adapter="",
        )
        for n, text in enumerate(texts)
    ]  # type: ignore[arg-type]
    jsonl.write(path, (row.to_row() for row in rows))


class Judging:
    """The stage over a run's folder, each time with a new client, as another worker would have."""

    def __init__(self, folder: Path, base: str, found: Migration) -> None:
        self.folder, self.base, self.settings = folder, base, found
        self.events: list[Event] = []
        self.out = folder / "round-00" / "judge"

    async def run(self) -> list[Verdict]:
        self.out.mkdir(exist_ok=True)
        with closing(Ledger(self.folder / "ledger.sqlite")) as ledger:
            self.client = Client(self.settings.service, ledger, sandbox_base=self.base)
            job = ServiceJob(
                run=Run(self.folder),
                settings=self.settings,
                round=0,
                folder=self.out,
                emit=self.events.append,
                client=self.client,
                prompts=PROMPTS,
            )
            await record(JUDGE, job, judge.run)
        return [Verdict(**row) for row in jsonl.read(self.out / "verdicts.jsonl")]


@asynccontextmanager
async def judging(handler: Handler, folder: Path, **judging_: Any) -> AsyncIterator[tuple[Service, Judging]]:
    async with serving(handler) as service:
        yield service, Judging(folder, service.base, settings(**judging_))


async def test_every_response_repeat_and_judge(tmp_path: Path) -> None:
    responses(tmp_path, "one", "two", "three")
    async with judging(always(verdict), tmp_path) as (service, stage):
        verdicts = await stage.run()

    assert [(v.id, v.repeat) for v in verdicts] == [(f"p{n}", repeat) for n in range(3) for repeat in range(2)]
    assert {(v.similarity, v.precision, v.similarity_reason, v.precision_reason, v.error) for v in verdicts} == {
        (70.0, 80.0, "near", "right", "")
    }
    assert all("Say $x." in prompt and "\nx\n</reference_response" in prompt for prompt in service.prompts)
    done = manifest(stage.out)
    assert done is not None and done.counts == {**COUNTS, "verdicts": 6}
    assert list(done.inputs) == ["round-00/infer/responses.jsonl"]
    last = stage.events[-1]
    assert isinstance(last, StageProgress) and (last.done, last.total) == (6, 6)


async def test_an_unreadable_reply_is_told_and_asked_again(tmp_path: Path) -> None:
    responses(tmp_path, "one")
    handler = always(lambda: completion("I like it"), lambda: verdict(precision=850), verdict)
    async with judging(handler, tmp_path, repeats=1) as (service, stage):
        (found,) = await stage.run()

    assert (found.precision, found.error) == (80.0, "")
    first, second, third = (body["messages"] for body in service.bodies)
    assert [message["role"] for message in second] == ["user", "assistant", "user"]
    assert second[0] == first[0] and second[1]["content"] == "I like it"
    assert "no score for similarity and precision" in second[2]["content"]
    assert third[:3] == second and "not from 1 to 100" in third[4]["content"]


@pytest.mark.parametrize("text", ["", "I cannot help with that.", "{" * 500])
async def test_what_stays_unreadable_is_a_row_and_the_stage_goes_on(tmp_path: Path, text: str) -> None:
    responses(tmp_path, "good", "BAD")

    async def handler(service: Service, request: web.Request) -> web.StreamResponse:
        return completion(text) if "BAD" in await prompt_of(request) else verdict()

    async with judging(handler, tmp_path, repeats=1) as (service, stage):
        good, bad = await stage.run()

    assert good.error == "" and good.precision == 80.0
    assert bad.error.startswith(("no score", "the reply is empty")) and bad.precision is None and bad.similarity is None
    assert len(service.bodies) == 1 + MOST_REPLIES["unreadable" if text else "empty"]
    done = manifest(stage.out)
    assert done is not None and done.counts == {**COUNTS, "verdicts": 1, "errors": 1}


async def test_a_response_too_long_for_the_judge_is_a_row(tmp_path: Path) -> None:
    responses(tmp_path, "good", "BAD")
    too_long = "This model's maximum context length is 4096 tokens"

    async def handler(service: Service, request: web.Request) -> web.StreamResponse:
        return error(400, too_long, "context_length_exceeded") if "BAD" in await prompt_of(request) else verdict()

    async with judging(handler, tmp_path, repeats=1) as (_, stage):
        _, bad = await stage.run()

    assert bad.error.startswith("refused: ") and "4096" in bad.error


def ended(how: str, **message: Any) -> web.Response:
    said = {"role": "assistant", "content": None, **message}
    return completion("", choices=[{"index": 0, "message": said, "finish_reason": how}])


async def test_refusals_filters_and_empty_answers_are_told_apart(
    tmp_path: Path,
) -> None:
    responses(tmp_path, "good", "DECLINED", "FILTERED", "EMPTY")

    async def handler(service: Service, request: web.Request) -> web.StreamResponse:
        prompt = await prompt_of(request)
        if "DECLINED" in prompt:
            return ended("stop", refusal="I won't judge that.")
        if "FILTERED" in prompt:
            return ended("content_filter", content='{"similarity": 90, "prec')
        return ended("stop", content=" ") if "EMPTY" in prompt else verdict()

    async with judging(handler, tmp_path, repeats=1) as (server, stage):
        _, declined, filtered, empty = await stage.run()

    assert declined.error == "refused: refusal: I won't judge that."
    assert filtered.error.startswith("refused: content_filter")
    assert empty.error == "the reply is empty"
    asked = [sum(word in prompt for prompt in server.prompts) for word in ("DECLINED", "FILTERED", "EMPTY")]
    assert asked == [MOST_REPLIES["refused"], MOST_REPLIES["refused"], MOST_REPLIES["empty"]]
    done = manifest(stage.out)
    assert done is not None and done.counts == {**COUNTS, "verdicts": 1, "errors": 3, "refusals": 2}


def thinking(needed: int) -> Handler:
    """A judge that thinks for `needed` tokens before its verdict."""

    async def handler(_service: Service, request: web.Request) -> web.StreamResponse:
        room = (await request.json())["max_tokens"]
        return verdict() if room > needed else ended("length", content="")

    return handler


async def test_a_judge_that_thinks_for_longer_gets_more_room_from_then_on(tmp_path: Path) -> None:
    responses(tmp_path, *(f"answer {n}" for n in range(6)))
    async with judging(thinking(10_000), tmp_path, repeats=1) as (service, stage):
        found = await stage.run()

    assert [row.precision for row in found] == [80.0] * 6
    rooms = [body["max_tokens"] for body in service.bodies]
    assert rooms.count(4 * 4096) == 6 and set(rooms) == {4096, 4 * 4096}


async def test_a_judge_that_thinks_without_end_is_told_after_a_few_calls(tmp_path: Path) -> None:
    responses(tmp_path, *(f"answer {n}" for n in range(40)))
    async with judging(thinking(10**9), tmp_path, repeats=1) as (service, stage):
        with pytest.raises(StageError, match="all 5 tokens went into thoughts") as failed:
            await stage.run()

    assert "max_tokens in [service] params" in failed.value.hint
    assert len(service.bodies) <= 25


async def test_where_nothing_is_readable_the_stage_fails(tmp_path: Path) -> None:
    responses(tmp_path, "one", "two")
    async with judging(always(lambda: completion("no")), tmp_path) as (_, stage):
        with pytest.raises(StageError, match="no verdict could be read: no score"):
            await stage.run()

    assert manifest(stage.out) is None


async def test_after_a_crash_only_what_is_missing_is_asked(tmp_path: Path) -> None:
    responses(tmp_path, "one", "good", "BAD")
    down = {"BAD"}

    async def handler(service: Service, request: web.Request) -> web.StreamResponse:
        return error(401) if "BAD" in await prompt_of(request) and down else verdict()

    async with judging(handler, tmp_path, repeats=1) as (service, stage):
        stage.settings = settings(repeats=1).model_copy(
            update={"service": stage.settings.service.model_copy(update={"concurrency": 1})}
        )
        with pytest.raises(ServiceError):
            await stage.run()
        assert manifest(stage.out) is None
        down.clear()
        before = len(service.bodies)
        verdicts = await stage.run()

    assert len(service.bodies) - before == 1
    assert [v.error for v in verdicts] == ["", "", ""]
    assert (stage.client.usage.calls, stage.client.usage.cached_calls) == (3, 2)


async def test_a_failure_leaves_no_call_behind(tmp_path: Path) -> None:
    responses(tmp_path, "one", "BAD")
    begun, ended = asyncio.Event(), asyncio.Event()

    async def handler(_service: Service, request: web.Request) -> web.StreamResponse:
        if "BAD" in await prompt_of(request):
            await begun.wait()
            return error(401)
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return verdict()

    async with judging(handler, tmp_path, repeats=1) as (_, stage), asyncio.timeout(60):
        service = stage.settings.service.model_copy(update={"timeout_s": 0.5})  # it waits so long for the other call
        stage.settings = stage.settings.model_copy(update={"service": service})
        with pytest.raises(ServiceError):
            await stage.run()
        await ended.wait()


async def test_a_broken_contract_scores_a_response_without_a_judge(tmp_path: Path) -> None:
    responses(tmp_path, '{"a": 1}', "no JSON")
    async with judging(always(verdict), tmp_path) as (service, stage):
        stage.settings = stage.settings.model_copy(update={"task": Task(contract=Contract(format="json"))})
        verdicts = await stage.run()

    assert [(v.id, v.judge, v.precision) for v in verdicts] == [
        *[("p0", "sandbox", 80.0)] * 2,
        ("p1", CONTRACT, 1.0),
    ]
    broken = verdicts[-1]
    assert broken.similarity == 1.0 and broken.precision_reason == broken.similarity_reason
    assert broken.precision_reason.startswith("The contract is broken, no judge was asked: not JSON: expected")
    assert len(service.bodies) == 2 and not any("no JSON" in prompt for prompt in service.prompts)
    done = manifest(stage.out)
    assert done is not None and done.counts == {**COUNTS, "verdicts": 2, "broken": 1}
    last = stage.events[-1]
    assert isinstance(last, StageProgress) and (last.done, last.total) == (4, 4)


async def test_where_all_break_the_contract_that_is_the_result(tmp_path: Path) -> None:
    responses(tmp_path, "one", "two")
    async with judging(always(lambda: error(401)), tmp_path) as (service, stage):
        stage.settings = stage.settings.model_copy(update={"task": Task(contract=Contract(max_chars=1))})
        verdicts = await stage.run()

    assert service.bodies == [] and {v.judge for v in verdicts} == {CONTRACT}


@pytest.mark.parametrize("faults", ["", "garbage=0.3,fenced=0.2,empty=0.1,badscore=0.3"])
async def test_with_the_sandbox_on_a_bad_day(tmp_path: Path, faults: str) -> None:
    responses(tmp_path, *(f"x {n}" for n in range(12)))
    server = TestServer(create_app(Settings(faults=faults)))
    async with server:
        stage = Judging(tmp_path, str(server.make_url("/v1")), settings())
        verdicts = await stage.run()

    assert len(verdicts) == 24
    assert sum(not v.error for v in verdicts) >= (24 if not faults else 6)
    assert all(v.precision is not None and 1 <= v.precision <= 100 for v in verdicts if not v.error)


def scored(*scores: float | None) -> list[Verdict]:
    return [
        Verdict(
            id="p",
            sample=0,
            repeat=n,
            judge="j",
            similarity=score,
            precision=score,
            similarity_reason="",
            precision_reason="",
            error="" if score else "no",
        )
        for n, score in enumerate(scores)
    ]


@pytest.mark.parametrize(
    ("scores", "agreed"),
    [
        ((80,), False),
        ((80, 80), True),
        ((80, 84), True),
        ((80, 85), False),
        ((80, None), False),
        ((80, None, 80), True),
        ((None, None, None), False),
        ((80, 90, 85, 85), False),
        ((80, 90, 85, 85, 85, 85, 85, 85, 85), True),
    ],
)
def test_when_repeats_agree(scores: tuple[float | None, ...], agreed: bool) -> None:
    assert agree(scored(*scores)) is agreed


def wavering() -> Handler:
    """A judge that is sure of "good", and says something else of "BAD" each time."""
    said = iter(range(10, 100, 15))

    async def handler(_service: Service, request: web.Request) -> web.StreamResponse:
        score = next(said) if "BAD" in await prompt_of(request) else 80
        return verdict(score, score)

    return handler


async def test_fewer_repeats_are_asked_where_the_first_agree_and_those_do_not_count(tmp_path: Path) -> None:
    responses(tmp_path, "good", "BAD", "good too")
    async with judging(wavering(), tmp_path, repeats=6) as (service, stage):
        verdicts = await stage.run()
        asked = len(service.bodies)
        again = await stage.run()

    assert [(v.id, v.repeat, v.pilot) for v in verdicts] == [
        *[("p0", 0, True), ("p0", 1, True), ("p0", 2, False)],
        *[("p1", n, n < 2) for n in range(6)],
        *[("p2", 0, True), ("p2", 1, True), ("p2", 2, False)],
    ]
    done = manifest(stage.out)
    assert done is not None and done.counts == {**COUNTS, "verdicts": 12, "spared": 6}
    last = stage.events[-1]
    assert isinstance(last, StageProgress) and (last.done, last.total) == (18, 18)
    assert again == verdicts and len(service.bodies) == asked == 12


async def test_three_repeats_are_all_asked_and_all_count(tmp_path: Path) -> None:
    responses(tmp_path, "good")
    async with judging(always(verdict), tmp_path, repeats=3) as (_, stage):
        assert [v.pilot for v in await stage.run()] == [False] * 3


async def test_all_repeats_are_asked_where_that_is_wanted(tmp_path: Path) -> None:
    responses(tmp_path, "good")
    async with judging(always(verdict), tmp_path, repeats=6, adaptive=False) as (_, stage):
        assert len(await stage.run()) == 6


async def test_the_schema_is_asked_of_those_that_keep_to_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    responses(tmp_path, "one")
    async with judging(always(verdict), tmp_path, repeats=1) as (service, stage):
        await stage.run()
        assert "response_format" not in service.bodies[-1]
        monkeypatch.setattr("engine.service.client.supports_schema", lambda _: True)
        await stage.run()

    assert len(service.bodies) == 2
    sent = service.bodies[-1]["response_format"]
    assert sent["type"] == "json_schema" and sent["json_schema"]["strict"] is True
    assert set(sent["json_schema"]["schema"]["required"]) == {"similarity_assessment", "precision_assessment"}
