import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError
from scripted import Service, completion, error, serving

from engine.evaluation.decision import decide
from engine.evaluation.scores import score
from engine.protocol import jsonl
from engine.protocol.decision import Decision, PromptScore, Scores
from engine.protocol.errors import StageError
from engine.protocol.manifest import Manifest, manifest
from engine.protocol.rows import Message, Response, Tool, Verdict
from engine.protocol.run_dir import Run
from engine.protocol.stages import TEACHER
from engine.service import prompts
from engine.service.client import Client
from engine.service.ledger import Ledger
from engine.settings.schema import Migration, Target
from engine.stages import teacher
from engine.stages.base import ServiceJob, record

TOOL: Tool = {"type": "function", "function": {"name": "track", "parameters": {}}}
SYSTEM: Message = {"role": "system", "content": "Be brief."}
CALL = '{"name": "track", "arguments": {"parcel": 2}}'


def settings(**service: Any) -> Migration:
    return Migration.model_validate(
        {
            "coverage": {"source": "a.jsonl"},
            "service": {"model": "sandbox", **service},
            "judge": {"repeats": 1},
            "task": {"contract": {"max_chars": 12}},
        }
    )


def asked(folder: Path) -> None:
    """What the local model answered: three prompts with two samples; the last is to be answered by a call."""
    path = folder / "round-00" / "infer" / "responses.jsonl"
    rows = []
    for number in range(3):
        prompt: list[Message] = [SYSTEM, {"role": "user", "content": f"Question {number}?"}]
        target, reference = (CALL, f"<tool_call>{CALL}</tool_call>") if number == 2 else (f"Yes {number}.", "")
        for sample in range(2):
            rows.append(
                Response(
                    id=f"p{number}",
                    sample=sample,
                    prompt=prompt,
                    target=target,
                    response="local",
                    finish_reason="stop",
                    prompt_tokens=3,
                    completion_tokens=1,
                    model="tiny",
                    adapter="a",
                    tools=[TOOL],
                    reference=reference,
                ).to_row()
            )
    jsonl.write(path, rows)


def verdict(points: int) -> web.Response:
    one = {"score": points, "reason": "so"}
    return completion(json.dumps({"similarity_assessment": one, "precision_assessment": one}))


async def answering(_service: Service, request: web.Request) -> web.StreamResponse:
    body = await request.json()
    said = body["messages"][-1]["content"]
    if not said.startswith("Question"):
        return verdict(90)
    if said == "Question 1?":
        return completion("It is longer than the contract allows.")
    if said == "Question 2?":
        call = {"id": "x", "type": "function", "function": {"name": "track", "arguments": '{"parcel": 2}'}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        return completion("", choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])
    return completion("Yes!")


async def teach(folder: Path, base: str, **service: Any) -> Manifest:
    found = settings(**service)
    folder.mkdir(exist_ok=True)
    with closing(Ledger(folder / "ledger.sqlite")) as ledger:
        asked(folder)
        client = Client(found.service, ledger, sandbox_base=base)
        job = ServiceJob(
            run=Run(folder),
            settings=found,
            round=0,
            folder=folder / "teacher",
            emit=lambda _: None,
            client=client,
            prompts=prompts.load(None),
        )
        return await record(TEACHER, job, teacher.run)


async def test_the_service_is_asked_as_it_was_and_judged_like_the_local_model(tmp_path: Path) -> None:
    async with serving(answering) as service:
        done = await teach(tmp_path, service.base, params={"top_p": 0.5})

    questions = [body for body in service.bodies if body["messages"][-1]["content"].startswith("Question")]
    assert len(questions) == 3 and all(body["messages"][0] == SYSTEM for body in questions)
    assert all(body["tools"] == [TOOL] and body["top_p"] == 0.5 and "temperature" not in body for body in questions)
    rows = {row["id"]: Response(**row) for row in jsonl.read(tmp_path / "teacher" / "infer" / "responses.jsonl")}
    assert [rows[id_].response for id_ in ("p0", "p1", "p2")] == [
        "Yes!",
        "It is longer than the contract allows.",
        CALL,
    ]
    assert {(row.model, row.adapter, row.sample) for row in rows.values()} == {("sandbox", "", 0)}
    assert rows["p2"].expected == CALL
    verdicts = {row["id"]: Verdict(**row) for row in jsonl.read(tmp_path / "teacher" / "judge" / "verdicts.jsonl")}
    assert {id_: found.precision for id_, found in verdicts.items()} == {"p0": 90, "p1": 1, "p2": 90}
    assert verdicts["p1"].judge == "contract"
    assert manifest(tmp_path / "teacher") == done
    assert done.counts["responses"] == 3 and done.counts["refused"] == 0


async def test_a_stage_that_was_cut_off_pays_nothing_again(tmp_path: Path) -> None:
    async with serving(answering) as service:
        await teach(tmp_path, service.base)
        paid = len(service.bodies)
        (tmp_path / "teacher" / "manifest.json").unlink()
        (tmp_path / "teacher" / "infer" / "manifest.json").unlink()
        (tmp_path / "teacher" / "judge" / "manifest.json").unlink()
        await teach(tmp_path, service.base)
    assert len(service.bodies) == paid


async def test_a_refused_prompt_is_left_out_and_all_refused_is_a_failure(tmp_path: Path) -> None:
    async def refusing_one(service: Service, request: web.Request) -> web.StreamResponse:
        said = (await request.json())["messages"][-1]["content"]
        return error(400, "no", "content_filter") if said == "Question 0?" else await answering(service, request)

    async def refusing(_service: Service, _request: web.Request) -> web.StreamResponse:
        return error(400, "no", "content_filter")

    async with serving(refusing_one) as service:
        done = await teach(tmp_path / "one", service.base)
    assert (done.counts["prompts"], done.counts["responses"], done.counts["refused"]) == (3, 2, 1)
    async with serving(refusing) as service:
        with pytest.raises(StageError, match="answers no prompt") as caught:
            await teach(tmp_path / "all", service.base)
    assert "teacher = false" in caught.value.hint


def scored(points: float, count: int = 40) -> Scores:
    rows = [
        Verdict(
            id=f"p{n}",
            sample=0,
            repeat=0,
            judge="j",
            similarity=points,
            precision=points,
            similarity_reason="",
            precision_reason="",
            error="",
        )
        for n in range(count)
    ]
    return score(rows, 0.05)


def decided(local: float, service: float | None, **target: Any) -> Decision:
    found = settings().model_copy(update={"target": Target(**target)})
    asked = (
        None if service is None else [PromptScore(id=f"p{n}", precision=service, similarity=service) for n in range(40)]
    )
    return decide([scored(local)], found.target, found.loop, hours=0, by_service=asked)


def test_the_decision_says_what_the_service_gets_itself_where_that_matters() -> None:
    itself = "the service itself gets precision 80.0 and similarity 80.0 against its own earlier responses"
    assert itself in decided(90, 80, relative_to_teacher=3).reason
    assert decided(50, 80, precision=85, similarity=75).reason.endswith(
        f"; {itself}, which is short of the target too."
    )
    assert "itself" not in decided(50, 95, precision=85, similarity=75).reason
    assert "itself" not in decided(50, None, precision=85, similarity=75).reason


def test_a_relative_target_needs_the_service() -> None:
    with pytest.raises(ValidationError, match="relative_to_teacher needs teacher = true"):
        Target(relative_to_teacher=3, teacher=False)
