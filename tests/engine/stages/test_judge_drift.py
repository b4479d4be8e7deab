import json
import sqlite3
from collections import Counter
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from scripted import Service, completion, error, prompt_of, serving

from engine.protocol import jsonl, records
from engine.protocol.errors import ServiceError
from engine.protocol.events import Event, Log
from engine.protocol.manifest import Manifest, manifest
from engine.protocol.rows import CONTRACT, Message, Response, SecondVerdict
from engine.protocol.run_dir import Run
from engine.protocol.stages import INFER, JUDGE, TEACHER
from engine.service import prompts
from engine.service.cache import Cache
from engine.service.client import Client
from engine.service.ledger import Ledger
from engine.settings.schema import Migration
from engine.stages import judge_drift, teacher
from engine.stages.base import ServiceJob, record
from engine.stages.judge_drift import drift_of

PROMPTS = prompts.load(None)


def settings(**tables: Any) -> Migration:
    base: dict[str, Any] = {
        "coverage": {"source": "a.jsonl"},
        "service": {"model": "sandbox"},
        "judge": {"repeats": 1},
    }
    return Migration.model_validate(base | tables)


def answered(run: Run, number: int | None, *texts: str) -> None:
    """What the local model answered, to a prompt each."""
    prompts_: list[list[Message]] = [[{"role": "user", "content": f"Say x, {n} times."}] for n in range(len(texts))]
    rows = [
        Response(
            id=f"p{n}",
            sample=0,
            prompt=prompts_[n],
            target="x",
            response=text,
            finish_reason="stop",
            prompt_tokens=3,
            completion_tokens=1,
            model="m",
            adapter="",
        )
        for n, text in enumerate(texts)
    ]
    jsonl.write(INFER.folder(run, number) / "responses.jsonl", (row.to_row() for row in rows))


class Judge:
    """A service that judges: `score` points for every answer but those in `unread`, and answers other requests."""

    def __init__(self) -> None:
        self.score = 70.0
        self.unread: Collection[str] = ()

    async def handle(self, _service: Service, request: web.Request) -> web.StreamResponse:
        prompt = await prompt_of(request)
        if "lm_response" not in prompt and "reference_response" not in prompt:
            return completion(f"the service's own answer {len(_service.bodies)}")
        if any(word in prompt for word in self.unread):
            return error(400, "no", "content_filter")
        said = {"score": self.score, "reason": "so"}
        return completion(json.dumps({"similarity_assessment": said, "precision_assessment": said}))


class Judging:
    """The judge stage of any round, each time with a new client, as another worker would have."""

    def __init__(self, run: Run, base: str, found: Migration, cache: Cache | None = None) -> None:
        self.run, self.base, self.settings, self.cache = run, base, found, cache
        self.events: list[Event] = []

    async def round(self, number: int | None) -> Manifest:
        folder = JUDGE.folder(self.run, number)
        folder.mkdir(parents=True, exist_ok=True)
        with closing(Ledger(self.run.ledger_file)) as ledger:
            return await record(JUDGE, self.job(ledger, number, folder), judge_drift.run)

    async def teach(self) -> None:
        folder = TEACHER.folder(self.run, 0)
        folder.mkdir(parents=True, exist_ok=True)
        with closing(Ledger(self.run.ledger_file)) as ledger:
            await record(TEACHER, self.job(ledger, 0, folder), teacher.run)

    def job(self, ledger: Ledger, number: int | None, folder: Path) -> ServiceJob:
        return ServiceJob(
            run=self.run,
            settings=self.settings,
            round=number,
            folder=folder,
            emit=self.events.append,
            client=Client(self.settings.service, ledger, cache=self.cache, sandbox_base=self.base),
            prompts=PROMPTS,
        )

    def again(self, number: int | None) -> list[SecondVerdict]:
        return list(records.read(JUDGE.folder(self.run, number) / "drift.jsonl", SecondVerdict))

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Log) and event.level == "warning"]


def texts(start: str, count: int = 30) -> list[str]:
    return [f"{start} {n}" for n in range(count)]


async def test_the_same_answers_of_round_0_are_judged_again_in_each_round(tmp_path: Path) -> None:
    run, judge = Run(tmp_path), Judge()
    for number, start in ((0, "first"), (1, "second"), (2, "third"), (None, "sealed")):
        answered(run, number, *texts(start))
    async with serving(judge.handle) as service:
        stage = Judging(run, service.base, settings())
        baseline = await stage.round(0)
        before = Counter(service.prompts)
        asked = []
        for number in (1, 2, None):
            begun = len(service.prompts)
            done = await stage.round(number)
            asked.append(Counter(service.prompts[begun:]))
            assert done.counts["verdicts"] == 30
            assert (done.counts["judged_again"], done.counts["judged_again_errors"]) == (20, 0)

    assert "judged_again" not in baseline.counts and not stage.again(0)
    repeated = [Counter(dict.fromkeys(before.keys() & found.keys(), 1)) for found in asked]
    assert len(repeated[0]) == 20 and repeated[0] == repeated[1] == repeated[2], "the very same prompts"
    assert all(found.total() == 50 for found in asked)
    (drift,) = drift_of(JUDGE.folder(run, 2))
    assert (drift.judge, drift.answers, drift.missing, drift.shifted) == ("sandbox", 20, 0, False)
    assert drift.finding.startswith("no shift beyond noise (precision +0.0 ± ")
    assert stage.warnings == []


async def test_a_shift_is_a_warning_in_the_round_in_which_it_is_seen(tmp_path: Path) -> None:
    run, judge = Run(tmp_path), Judge()
    for number in (0, 1, 2):
        answered(run, number, *texts(f"round {number}"))
    async with serving(judge.handle) as service:
        stage = Judging(run, service.base, settings())
        await stage.round(0)
        await stage.round(1)
        assert stage.warnings == []
        judge.score = 67
        await stage.round(2)

    (told,) = stage.warnings
    assert told.startswith(
        "the judge sandbox scores otherwise than in round 0: 20 answers judged again, precision -3.0 ±"
    )
    assert "name a fixed version" in told
    assert [drift_of(JUDGE.folder(run, n))[0].shifted for n in (1, 2)] == [False, True]


async def test_each_judge_judges_again_what_it_has_judged(tmp_path: Path) -> None:
    run, judge = Run(tmp_path), Judge()
    answered(run, 0, *texts("first", 4), "LONG answer that breaks the contract")
    answered(run, 1, *texts("second", 4))
    async with serving(judge.handle) as service:
        other = {"openai/other": {"api_base": service.base, "api_key_env": "PATH"}}
        found = settings(
            service={"model": "sandbox", "models": other},
            judge={"repeats": 2, "models": ["sandbox", "openai/other"]},
            task={"contract": {"max_chars": 12}},
        )
        stage = Judging(run, service.base, found)
        judge.unread = ("first 1",)
        await stage.round(0)
        judge.unread = ("first 2",)
        await stage.round(1)

    rows = stage.again(1)
    assert {row.first.judge for row in rows} == {"sandbox", "openai/other"} and not any(
        row.first.judge == CONTRACT for row in rows
    )
    assert Counter(row.first.id for row in rows) == {"p0": 2, "p2": 2, "p3": 2}
    assert all(row.first.repeat == 0 and row.again.id == row.first.id for row in rows)
    assert [(d.judge, d.answers, d.missing) for d in drift_of(JUDGE.folder(run, 1))] == [
        ("openai/other", 2, 1),
        ("sandbox", 2, 1),
    ]
    done = manifest(JUDGE.folder(run, 1))
    assert done is not None and (done.counts["judged_again"], done.counts["judged_again_errors"]) == (6, 2)


async def test_half_are_the_services_own_answers(tmp_path: Path) -> None:
    run, judge = Run(tmp_path), Judge()
    answered(run, 0, *texts("first"))
    answered(run, 1, *texts("second"))
    async with serving(judge.handle) as service:
        stage = Judging(run, service.base, settings())
        await stage.round(0)
        await stage.teach()
        begun = len(service.prompts)
        await stage.round(1)

    again = [prompt for prompt in service.prompts[begun:] if "second" not in prompt]
    assert Counter("own answer" in prompt for prompt in again) == {True: 10, False: 10}
    assert not (TEACHER.folder(run, 0) / "judge" / "drift.jsonl").exists()


async def test_equal_answers_to_a_prompt_are_one(tmp_path: Path) -> None:
    run, judge = Run(tmp_path), Judge()
    answered(run, 0, "one", "two", "three")
    rows = list(jsonl.read(INFER.folder(run, 0) / "responses.jsonl"))
    jsonl.write(INFER.folder(run, 0) / "responses.jsonl", [*rows, *({**row, "sample": 1} for row in rows)])
    answered(run, 1, "next")
    async with serving(judge.handle) as service:
        stage = Judging(run, service.base, settings())
        await stage.round(0)
        await stage.round(1)

    assert sorted(row.first.id for row in stage.again(1)) == ["p0", "p1", "p2"]


async def test_a_resumed_stage_pays_for_none_of_it_again(tmp_path: Path) -> None:
    run, judge = Run(tmp_path), Judge()
    answered(run, 0, *texts("first"))
    answered(run, 1, "FAILS", *texts("second"))
    broken = {"now"}

    async def handle(service: Service, request: web.Request) -> web.StreamResponse:
        return error(401) if broken and "FAILS" in await prompt_of(request) else await judge.handle(service, request)

    async with serving(handle) as service:
        stage = Judging(run, service.base, settings())
        await stage.round(0)
        with pytest.raises(ServiceError):
            await stage.round(1)
        with closing(sqlite3.connect(run.ledger_file)) as database:
            (kept,) = database.execute("SELECT COUNT(*) FROM calls WHERE answered IS NOT NULL").fetchone()
        broken.clear()
        begun = len(service.bodies)
        await stage.round(1)

    assert len(service.bodies) - begun == 30 + 31 + 20 - kept
    assert len(stage.again(1)) == 20


async def test_verdicts_of_an_earlier_run_are_not_those_of_today(tmp_path: Path) -> None:
    """The cache has the verdicts of round 0, and of the same round of an equal run, from before the judge changed."""
    judge = Judge()
    cache = Cache(tmp_path / "replies.sqlite")
    async with serving(judge.handle) as service:
        found = settings(service={"model": "openai/judge", "api_key_env": "PATH", "api_base": service.base})
        shifts = []
        for name, score in (("one", 70), ("two", 50)):
            run = Run(tmp_path / name)
            answered(run, 0, *texts("first"))
            answered(run, 1, *texts("second"))
            judge.score = score
            stage = Judging(run, service.base, found, cache)
            await stage.round(0)
            await stage.round(1)
            shifts.append(drift_of(JUDGE.folder(run, 1))[0])
    cache.close()

    assert [shift.precision and shift.precision.mean for shift in shifts] == [0, -20]
    assert shifts[1].shifted


async def test_judging_again_is_in_the_cost_of_the_stage(tmp_path: Path) -> None:
    """From which the cost of the next round is told."""
    run, judge = Run(tmp_path), Judge()
    answered(run, 0, *texts("first"))
    answered(run, 1, *texts("second"))
    async with serving(judge.handle) as service:
        prices = {"input_price": 1000.0, "output_price": 1000.0}
        endpoint = {"model": "openai/judge", "api_key_env": "PATH", "api_base": service.base}
        found = settings(service={**endpoint, **prices})
        stage = Judging(run, service.base, found)
        before, after = await stage.round(0), await stage.round(1)

    assert before.cost_usd > 0 and after.cost_usd == pytest.approx(before.cost_usd * 50 / 30)


async def test_none_are_judged_again_where_that_is_turned_off(tmp_path: Path) -> None:
    run, judge = Run(tmp_path), Judge()
    answered(run, 0, *texts("first"))
    answered(run, 1, *texts("second"))
    async with serving(judge.handle) as service:
        stage = Judging(run, service.base, settings(judge={"repeats": 1, "drift": 0}))
        await stage.round(0)
        await stage.round(1)

    assert len(service.bodies) == 60 and drift_of(JUDGE.folder(run, 1)) == ()
