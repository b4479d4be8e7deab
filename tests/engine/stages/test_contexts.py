"""System prompts, several turns and tools, from the recorded request through every stage."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace
from scripted import Service, completion, serving

from engine.dataset.prepare import read_dev, read_train
from engine.local.adaptation import NO_SYSTEM
from engine.local.chat import encode_prompt
from engine.local.resolve import ResolvedModel
from engine.local.tokenizer import load_tokenizer
from engine.local.training.rows import token_rows
from engine.protocol import jsonl
from engine.protocol.decision import PromptScore
from engine.protocol.errors import InputError
from engine.protocol.events import Event, Log
from engine.protocol.rows import Chat, Pair, Response, SyntheticPair, Verdict, prompt_text
from engine.protocol.run_dir import Run
from engine.protocol.stages import COVERAGE, FINETUNE, INFER, JUDGE, SYNTHESIZE, Stage
from engine.service import prompts
from engine.service.client import Client
from engine.service.ledger import Ledger
from engine.settings.schema import Migration, Synthesis
from engine.stages import coverage, finetune, infer, judge, synthesize
from engine.stages.base import Job, Recorder, ServiceJob, record
from engine.stages.synthesize import SynthesisRequest
from engine.stages.training_mix import training_mix
from llamaduo_tui.views.review import Review
from tests.engine.local.templates import GEMMA
from tests.tiny import CHATML, TOOLS, make_model

TOOL = {"type": "function", "function": {"name": "track", "description": "Finds a parcel.", "parameters": {}}}
SYSTEM = {"role": "system", "content": "You answer for PostTown."}


def call(number: int) -> dict[str, Any]:
    function = {"name": "track", "arguments": json.dumps({"parcel": number})}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": f"call_{number}", "function": function}]}


def recorded(number: int) -> dict[str, Any]:
    """One logged request of four kinds: a question, a later turn, a call, and an answer from a result."""
    asked = {"role": "user", "content": f"Where is parcel {number}, sent {number * 7} days ago?"}
    found = {"role": "tool", "tool_call_id": f"call_{number}", "content": f"town {number}"}
    earlier = [{"role": "user", "content": f"Hello {number}"}, {"role": "assistant", "content": "Yes?"}]
    said = {"role": "assistant", "content": f"In town {number}."}
    turns = [[asked, said], [*earlier, asked, said], [asked, call(number)], [asked, call(number), found, said]]
    messages = [SYSTEM, *turns[number % 4]]
    reply = {"choices": [{"message": messages[-1], "finish_reason": "stop"}]}
    return {"request": {"model": "gpt-4o", "messages": messages[:-1], "tools": [TOOL]}, "response": reply}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    folder = tmp_path_factory.mktemp("tools")
    make_model(folder, TOOLS)
    return ResolvedModel("tiny", folder, None, "0" * 16)


@pytest.fixture(scope="module")
def run(model: ResolvedModel, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run up to the answers of round 1."""
    run = Run(tmp_path_factory.mktemp("run"))
    source = run.folder / "log.jsonl"
    jsonl.write(source, map(recorded, range(40)))
    found = settings(source, model.path)
    coverage.run(job(COVERAGE, run, found, None))
    for stage, work in ((FINETUNE, finetune.run), (INFER, infer.run)):
        given = job(stage, run, found, 1)
        Recorder(stage, given).finish(work(given))
    return run


def job(stage: Stage, run: Run, found: Migration, number: int | None) -> Job:
    return Job(run=run, settings=found, round=number, folder=stage.folder(run, number), emit=lambda _: None)


def service_job(stage: Stage, run: Run, found: Migration, client: Client) -> ServiceJob:
    folder = stage.folder(run, 1)
    return ServiceJob(
        run=run,
        settings=found,
        round=1,
        folder=folder,
        emit=lambda _: None,
        client=client,
        prompts=prompts.load(None),
    )


def settings(source: Path, model: Path) -> Migration:
    return Migration.model_validate(
        {
            "coverage": {"source": str(source)},
            "service": {"model": "sandbox"},
            "judge": {"repeats": 1},
            "local": {"model": str(model), "adapter": {"r": 2, "alpha": 4}},
            "finetune": {"epochs": 1, "batch_size": 8},
            "inference": {"samples": 1, "max_new_tokens": 4},
        }
    )


def kind(pair: Pair) -> str:
    return " ".join(message["role"] for message in pair.messages)


def test_all_kinds_are_kept(run: Run) -> None:
    assert not list(jsonl.read(run.coverage / "dropped.jsonl"))
    assert {kind(pair) for pair in read_train(run.coverage)} == {
        "system user assistant",
        "system user assistant user assistant",
        "system user assistant tool assistant",
    }
    assert all(pair.tools == [TOOL] for pair in read_train(run.coverage))


def test_what_the_template_does_not_show_is_dropped_with_its_reason(tmp_path: Path) -> None:
    make_model(tmp_path / "model", CHATML)
    source = tmp_path / "log.jsonl"
    plain = [{"prompt": f"Question {number}?", "response": "Yes."} for number in range(20)]
    jsonl.write(source, [*plain, *map(recorded, range(3))])
    given = job(COVERAGE, Run(tmp_path / "run"), settings(source, tmp_path / "model"), None)
    coverage.run(given)
    dropped = list(jsonl.read(given.folder / "dropped.jsonl"))
    reason = "misfit: the local model's chat template leaves out tool definitions"
    assert [(row["line"], row["reason"]) for row in dropped] == [(line, reason) for line in (21, 22, 23)]

    jsonl.write(source, map(recorded, range(3)))
    with pytest.raises(InputError, match="all 3 rows are unusable; row 1: misfit: the local model's chat") as caught:
        coverage.run(replace(given, folder=tmp_path / "none"))
    assert "choose a model in local.model" in caught.value.hint


def test_a_change_to_prompts_is_said_once(tmp_path: Path) -> None:
    make_model(tmp_path / "model", GEMMA)
    source = tmp_path / "log.jsonl"
    chats = [[SYSTEM, *recorded(number * 4)["request"]["messages"][1:]] for number in range(20)]
    answer = {"role": "assistant", "content": "In Graz."}
    jsonl.write(source, ({"messages": [*messages, answer]} for messages in chats))
    events: list[Event] = []
    given = job(COVERAGE, Run(tmp_path / "run"), settings(source, tmp_path / "model"), None)
    coverage.run(replace(given, emit=events.append))
    said = [event for event in events if isinstance(event, Log)]
    assert [(event.level, event.message) for event in said] == [("info", f"{NO_SYSTEM} (20 pairs)")]
    assert all(pair.messages[0] == SYSTEM for pair in read_train(given.folder))


def test_training_and_inference_show_the_model_the_same_tokens(run: Run, model: ResolvedModel) -> None:
    found = settings(run.folder / "log.jsonl", model.path)
    tokenizer = load_tokenizer(model, found.local)
    dev = read_dev(run.coverage)
    rows, too_long = token_rows(tokenizer, [Chat(pair.messages, pair.tools) for pair in dev], 2048)
    inferred = {row["id"]: row["prompt_tokens"] for row in jsonl.read(run.round(1) / "infer" / "responses.jsonl")}
    assert not too_long
    for row, pair in zip(rows, dev, strict=True):
        assert row.tokens[: row.prompt] == encode_prompt(tokenizer, pair.prompt, pair.tools)
        assert row.prompt == inferred[pair.id]
        learned = tokenizer.decode(row.tokens[row.prompt :])
        calls = "tool_calls" in pair.messages[-1]
        assert learned == (f"<tool_call>\n{pair.target}\n</tool_call>" if calls else pair.target) + "<|im_end|>"


def judged() -> web.Response:
    one = {"score": 50, "reason": "so so"}
    return completion(json.dumps({"similarity_assessment": one, "precision_assessment": one}))


async def test_the_judge_sees_system_prompt_turns_and_tools(run: Run, model: ResolvedModel) -> None:
    async def handler(_service: Service, _request: web.Request) -> web.StreamResponse:
        return judged()

    found, folder = settings(run.folder / "log.jsonl", model.path), run.round(1) / "judge"
    answers = run.round(1) / "infer" / "responses.jsonl"
    async with serving(handler) as service:
        with closing(Ledger(run.folder / "judge.sqlite")) as ledger:
            client = Client(found.service, ledger, sandbox_base=service.base)
            await record(JUDGE, service_job(JUDGE, run, found, client), judge.run)
    responses = {row["id"]: Response(**row) for row in jsonl.read(answers)}
    for pair in read_dev(run.coverage):
        asked = next(text for text in service.prompts if prompt_text(pair.prompt, pair.tools) in text)
        assert '[tools]\n{"name": "track", "description": "Finds a parcel."' in asked
        assert f"[system]\n{SYSTEM['content']}" in asked
        assert responses[pair.id].expected in asked
        if "tool_calls" in pair.messages[-1]:
            assert responses[pair.id].expected == f"<tool_call>\n{pair.target}\n</tool_call>"
    assert all(Verdict(**row).precision == 50 for row in jsonl.read(folder / "verdicts.jsonl"))


async def test_new_pairs_stand_under_their_seed_s_system_prompt_and_tools(
    run: Run, model: ResolvedModel, tmp_path: Path
) -> None:
    shutil.copytree(run.coverage, tmp_path / "coverage")
    count = 0

    async def handler(_service: Service, _request: web.Request) -> web.StreamResponse:
        nonlocal count
        count += 1
        pairs = [{"instruction": f"Is number {count} {'very ' * count}late?", "response": "No."}]
        return completion(json.dumps({"contents": pairs}))

    found = settings(run.folder / "log.jsonl", model.path)
    request = SynthesisRequest(
        pairs=4, weak=[PromptScore(id=pair.id, precision=1, similarity=1) for pair in read_dev(run.coverage)]
    )
    folder = tmp_path / "round-01" / "synthesize"
    async with serving(handler) as service:
        with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
            client = Client(found.service, ledger, sandbox_base=service.base)
            writing = service_job(SYNTHESIZE, Run(tmp_path), found, client)
            await record(SYNTHESIZE, writing, partial(synthesize.run, request=request))
    for asked in service.prompts:
        context, _, seed = asked.partition("</context>")
        assert f"[system]\n{SYSTEM['content']}" in context and '{"name": "track"' in context
        assert SYSTEM["content"] not in seed and "[tool]" not in seed
    rows = [SyntheticPair(**row) for row in jsonl.read(folder / "pairs.jsonl")]
    assert len(rows) == 4
    for row in rows:
        assert row.messages[0] == SYSTEM and row.tools == [TOOL] and len(row.messages) == 3
    assert training_mix(run.coverage, [folder], {}, Synthesis()).chats[-1] == Chat(rows[-1].messages, [TOOL])


def test_the_review_shows_turns_and_tools(run: Run) -> None:
    review = Review(run)
    for pair in read_dev(run.coverage):
        response = review.response(1, pair.id, 0).response
        assert prompt_text(response.prompt, response.tools) == prompt_text(pair.prompt, pair.tools)
    assert review.search(1, "finds a parcel", lambda: False) == {pair.id for pair in read_dev(run.coverage)}


def test_rows_of_older_runs_have_no_tools() -> None:
    assert Pair(id="p", messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]).tools == []
