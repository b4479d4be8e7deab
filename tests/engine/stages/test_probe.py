"""One verdict of each judge and one pair of the service, before a run puts the GPU to work."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from scripted import Handler, Service, always, completion, error, prompt_of, serving

from engine.protocol import jsonl
from engine.protocol.errors import LlamaDuoError, ServiceError, StageError
from engine.protocol.events import Event, Log
from engine.protocol.manifest import Manifest, finish, manifest
from engine.protocol.rows import Message, Pair
from engine.protocol.run_dir import Run
from engine.protocol.stages import COVERAGE, INFER, PROBE, Stage
from engine.service import prompts
from engine.service.client import Client
from engine.service.ledger import Ledger
from engine.settings.schema import Migration
from engine.stages import probe
from engine.stages.base import ServiceJob, record
from engine.worker import loop
from engine.worker.context import Context

PROMPTS = prompts.load(None)
SERVICE, JUDGE = "openai/writer", "openai/judge"
VERDICT = {
    "similarity_assessment": {"score": 90, "reason": "near"},
    "precision_assessment": {"score": 95, "reason": "right"},
}
PAIR = {"contents": [{"instruction": "A new question?", "response": "A new answer."}]}


def pair(number: int, calls: bool = False) -> Pair:
    target: Message = {"role": "assistant", "content": f"It is {number}."}
    if calls:
        function: Any = {"name": "count", "arguments": "{}"}
        target = {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "", "type": "function", "function": function}],
        }
    question = f"Question {number}: " + "word " * number
    return Pair(id=f"p{number:02}", messages=[{"role": "user", "content": question}, target])


TRAIN, DEV = [pair(n) for n in range(20)], [pair(n) for n in range(40, 60)]


def settings(base: str | None = None, judges: tuple[str, ...] = (JUDGE,), model: str = SERVICE) -> Migration:
    own = {judge: {"api_base": base} for judge in judges if base}
    return Migration.model_validate(
        {
            "coverage": {"source": "a.jsonl"},
            "service": {"model": model, "api_base": base, "input_price": 100, "output_price": 200, "models": own},
            "judge": {"models": list(judges)},
        }
    )


def reply(prompt: str) -> web.Response:
    return completion(json.dumps(PAIR if "Write exactly" in prompt else VERDICT))


async def answering(_service: Service, request: web.Request) -> web.StreamResponse:
    return reply(await prompt_of(request))


class Probing:
    """The stage in a run's folder, each time with a new client, as another worker would have."""

    def __init__(self, folder: Path, server: Service) -> None:
        self.server, self.run, self.settings = server, Run(folder), settings(server.base)
        self.events: list[Event] = []
        for name, pairs in (("train", TRAIN), ("dev", DEV)):
            jsonl.write(self.run.coverage / f"{name}.jsonl", (row.to_row() for row in pairs))

    async def probe(self) -> Manifest:
        folder = PROBE.folder(self.run, None)
        folder.mkdir(exist_ok=True)
        with closing(Ledger(self.run.ledger_file)) as ledger:
            job = ServiceJob(
                run=self.run,
                settings=self.settings,
                round=None,
                folder=folder,
                emit=self.events.append,
                client=Client(self.settings.service, ledger),
                prompts=PROMPTS,
            )
            return await record(PROBE, job, probe.run)

    @property
    def log(self) -> list[str]:
        return [f"{event.level}: {event.message}" for event in self.events if isinstance(event, Log)]

    @property
    def asked(self) -> list[str]:
        return [body["model"] for body in self.server.bodies]


@asynccontextmanager
async def probing(handler: Handler, folder: Path) -> AsyncIterator[Probing]:
    async with serving(handler) as server:
        yield Probing(folder, server)


async def test_each_model_is_asked_once_as_the_stages_ask_and_a_resume_asks_nothing(tmp_path: Path) -> None:
    async with probing(answering, tmp_path) as stage:
        done = await stage.probe()
        again = await stage.probe()

    assert stage.asked == ["judge", "writer"]
    judged, written = stage.server.bodies
    assert judged["messages"][0]["content"] == PROMPTS.judge(
        instruction=DEV[10].prompt[0]["content"], reference=DEV[10].target, response=DEV[10].target
    )
    assert (judged["temperature"], judged["max_tokens"]) == (0.0, 4096)
    assert TRAIN[10].prompt[0]["content"].strip() in written["messages"][0]["content"]
    assert "Write exactly 1 new pairs" in written["messages"][0]["content"]
    assert (written["temperature"], written["max_tokens"]) == (1.0, 8192)
    assert done.counts == again.counts == {"models": 2, "answers": 2, "refused": 0}
    first, second, *repeated = stage.log
    assert re.fullmatch(rf"info: {JUDGE} answers: a verdict in \d+\.\d s, unknown price, as scripted", first)
    assert re.fullmatch(rf"info: {SERVICE} answers: a pair in \d+\.\d s, \$0\.0020, as scripted", second)
    assert [line.split(": ")[-1] for line in repeated] == [
        f"a {task} that an earlier call paid for, as scripted" for task in ("verdict", "pair")
    ]


@pytest.mark.parametrize(
    ("handler", "failure", "message"),
    [
        (always(lambda: error(401, "bad key")), ServiceError, "bad key"),
        (always(lambda: error(404, "no such model")), ServiceError, "no such model"),
        (always(lambda: completion("I would rather talk.")), StageError, f"{JUDGE} gives no usable verdict"),
    ],
)
async def test_what_would_fail_later_fails_at_once(
    tmp_path: Path, handler: Handler, failure: type[LlamaDuoError], message: str
) -> None:
    async with probing(handler, tmp_path) as stage:
        with pytest.raises(failure) as failed:
            await stage.probe()

    assert message in failed.value.message and failed.value.hint
    assert "writer" not in stage.asked and manifest(PROBE.folder(stage.run, None)) is None


async def test_no_batch_job_is_waited_for(tmp_path: Path) -> None:
    paths: list[str] = []

    async def noting(service: Service, request: web.Request) -> web.StreamResponse:
        paths.append(request.path)
        return await answering(service, request)

    async with serving(noting, "/{path:.*}") as server:
        stage = Probing(tmp_path, server)
        batches = stage.settings.service.model_copy(update={"batch": True})
        stage.settings = stage.settings.model_copy(update={"service": batches})
        await stage.probe()

    assert paths == ["/v1/chat/completions"] * 2


async def test_a_refused_row_is_passed_over_for_two_others(tmp_path: Path) -> None:
    refused = PROMPTS.judge(instruction=DEV[10].prompt[0]["content"], reference=DEV[10].target, response=DEV[10].target)

    async def filtering(_service: Service, request: web.Request) -> web.StreamResponse:
        prompt = await prompt_of(request)
        return error(400, "filtered", "content_filter") if prompt == refused else reply(prompt)

    async with probing(filtering, tmp_path) as stage:
        done = await stage.probe()

    assert stage.asked == ["judge", "judge", "writer"] and done.counts["refused"] == 0


async def test_a_model_that_refuses_all_rows_is_warned_of(tmp_path: Path) -> None:
    async def filtering(_service: Service, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        return error(400, "filtered", "content_filter") if body["model"] == "judge" else completion(json.dumps(PAIR))

    async with probing(filtering, tmp_path) as stage:
        done = await stage.probe()

    assert stage.asked == ["judge", "judge", "judge", "writer"] and done.counts["refused"] == 1
    assert stage.log[0].startswith(f"warning: {JUDGE} refuses the rows that it was asked about: ")


def test_a_model_is_asked_for_each_use_and_the_own_sandbox_not_at_all() -> None:
    def uses(found: Migration, train: list[Pair] = TRAIN) -> list[tuple[str, str]]:
        return [(trial.model, trial.task) for trial in probe.trials(found, PROMPTS, train, DEV)]

    one = settings(judges=(SERVICE,))
    assert uses(one) == [(SERVICE, "verdict"), (SERVICE, "pair")]
    assert uses(settings(judges=(JUDGE, SERVICE))) == [(JUDGE, "verdict"), (SERVICE, "verdict"), (SERVICE, "pair")]
    assert uses(one, [pair(n, calls=True) for n in range(3)]) == [(SERVICE, "verdict")], "no seed can be modelled on"
    assert uses(settings(judges=(JUDGE,), model="sandbox")) == [(JUDGE, "verdict")]
    sandbox = settings(judges=("sandbox",), model="sandbox")
    assert uses(sandbox) == [] and probe.models(sandbox) == []
    assert probe.models(settings("http://127.0.0.1:9/v1", ("sandbox",), "sandbox")) == ["sandbox"]


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_rows_of_middling_length_are_tried(count: int) -> None:
    rows = probe.middling([pair(n) for n in reversed(range(count))])
    assert rows[0] == pair(count // 2) and 1 <= len(rows) == len({row.id for row in rows}) <= 3
    assert probe.middling([]) == []


class Stages:
    """What the loop runs; a run that meets another stage than those is past what is tested here."""

    def __init__(self, run: Run, found: Migration) -> None:
        self.run, self.settings = run, found
        self.begun: list[str] = []

    async def stage(self, stage: Stage, round_: int | None, work: Any = None) -> None:
        self.begun.append(stage.name)
        if stage not in (COVERAGE, PROBE):
            raise StageError("far enough")


@pytest.mark.parametrize(
    ("model", "past", "begun"),
    [
        (SERVICE, False, ["coverage", "probe", "infer"]),
        (SERVICE, True, ["coverage", "infer"]),
        ("sandbox", False, ["coverage", "infer"]),
    ],
)
async def test_the_loop_asks_between_the_data_and_the_first_inference(
    tmp_path: Path, model: str, past: bool, begun: list[str]
) -> None:
    run = Run(tmp_path)
    if past:
        finish(INFER.folder(run, 0), Manifest(stage="infer", inputs={}, settings="", seed=0, counts={}, seconds=0))
    stages = Stages(run, settings(judges=(model,), model=model))
    with pytest.raises(StageError, match="far enough"):
        await loop.migrate(cast(Context, stages))
    assert stages.begun == begun
