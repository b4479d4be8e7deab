"""A whole run whose service gives dev and test prompts back as new pairs, with every opened file written down."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web

from engine.dataset.load import load
from engine.dataset.openings import openings
from engine.dataset.prepare import read_test
from engine.dataset.split import split
from engine.protocol import jsonl
from engine.protocol.manifest import manifest
from engine.protocol.run_dir import Run
from engine.sandbox import completions
from engine.settings.load import load_settings, settings_of
from engine.stages.training_mix import training_mix
from tests.e2e.conftest import DEMO, SETTINGS
from tests.engine.scripted import Service, completion, prompt_of, serving
from tests.rewording import embed, reword

PROGRAM = str(Path(sys.executable).with_name("llamaduo-tui"))

TRACE = """
import json, os, sys, time

log = os.open(os.environ["OPENED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def note(event, arguments):
    if event == "open" and "test." in str(arguments[0]):
        frame = sys._getframe(1)
        opener = "plain_file.py"
        while frame.f_back is not None and ("/engine/" not in (of := frame.f_code.co_filename) or of.endswith(opener)):
            frame = frame.f_back
        writes, by = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR)), os.path.basename(frame.f_code.co_filename)
        row = {"time": time.time(), "path": str(arguments[0]), "writes": writes, "by": by}
        os.write(log, json.dumps(row).encode() + b"\\n")

sys.addaudithook(note)
"""
"""Run by every Python process of the run, as sitecustomize.py."""


SUMS = "checksums.py"
"""Makes and compares the checksums of files."""


class Finished(NamedTuple):
    run: Run
    guarded: list[str]
    planted: list[str]
    opened: list[jsonl.Row]


class Leaky:
    """The sandbox's answers, with guarded prompts among the pairs that it writes: reworded, embedded, as responses."""

    def __init__(self, guarded: list[str]) -> None:
        dice = random.Random(0)
        self.leaks = [
            pair
            for text in guarded
            for pair in (
                {"instruction": reword(text, dice), "response": "{}"},
                {"instruction": embed(text), "response": "{}"},
                {"instruction": f"What came in on day {dice.random()}?", "response": embed(text)},
            )
        ]
        self.planted: list[str] = []

    async def respond(self, _service: Service, request: web.Request) -> web.StreamResponse:
        prompt = await prompt_of(request)
        found = completions.complete(prompt)
        if found.task != "synthesis" or "Write exactly 1 new pair" in prompt:  # what the probe asks for is not used
            return completion(found.text)
        leaks = self.leaks[len(self.planted) :][:40]
        self.planted += [json.dumps(leak) for leak in leaks]
        return completion(json.dumps({"contents": [*leaks, *json.loads(found.text)["contents"]]}))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("leaky")
    (folder / "sitecustomize.py").write_text(TRACE)
    file = folder / "migration.toml"
    text = SETTINGS.format(model=tiny_model).replace('source = "tickets.jsonl"', f'source = "{DEMO}"')
    for slow, quick in (("epochs = 2", "epochs = 1"), ("samples = 2", "samples = 1"), ("tokens = 16", "tokens = 4")):
        text = text.replace(slow, quick)
    file.write_text(text)
    settings = load_settings(file)
    parts = split(load(settings.coverage).pairs, settings.coverage.split)
    guarded = [pair.prompt[0]["content"] for pair in [*parts.dev, *parts.test]]
    leaky = Leaky(guarded)

    async def migrate() -> None:
        async with serving(leaky.respond) as service:
            given = f'model = "openai/any"\napi_base = "{service.base}"\napi_key_env = "ANY_KEY"\ncache = false'
            file.write_text(text.replace('model = "sandbox"', given, 1))
            path = f"{folder}:{Path(__file__).parents[2]}"
            done = await asyncio.create_subprocess_exec(
                *("env", f"PYTHONPATH={path}", f"OPENED={folder / 'opened'}", "ANY_KEY=x", f"XDG_STATE_HOME={folder}"),
                *(PROGRAM, "--runs-dir", str(folder / "runs"), "run", str(file), "--headless", "--yes"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            told, _ = await done.communicate()
            assert done.returncode == 3, told.decode()

    asyncio.run(migrate())
    yield Finished(Run(folder / "runs" / "tiny"), guarded, leaky.planted, list(jsonl.read(folder / "opened")))


pytestmark = pytest.mark.timeout(600)


def test_the_sealed_split_is_read_by_the_final_stage_alone(finished: Finished) -> None:
    run = finished.run
    final = next(
        row["time"]
        for row in jsonl.read(run.events_file)
        if (row["kind"], row["stage"], row["round"]) == ("stage.started", "infer", None)
    )
    ours = [row for row in finished.opened if Path(row["path"]).parent == run.coverage]
    written, *hashed = (row for row in ours if row["time"] < final)
    assert written["writes"] and Path(written["path"]).name.split(".")[1] == "test", "the coverage stage seals it"
    assert {(Path(row["path"]).name, row["by"], row["writes"]) for row in hashed} == {("test.sealed", SUMS, False)}
    read = [row for row in ours if row["time"] > final and row["by"] != SUMS and not row["writes"]]
    assert {Path(row["path"]).name for row in read} == {"test.sealed", "test.jsonl"}
    assert manifest(run.final / "infer") is not None


def test_the_opening_is_recorded_for_later_runs(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished.run
    monkeypatch.setenv("XDG_STATE_HOME", str(run.folder.parents[1]))
    ids = [pair.id for pair in read_test(run.coverage)]

    assert openings(run.identity, ids).sentence == ""
    assert openings("", ids).sentence.startswith(f"All {len(ids)} sealed prompts were opened once before")


def test_no_dev_or_test_prompt_is_trained_on(finished: Finished) -> None:
    run = finished.run
    synthesized = run.round(1) / "synthesize"
    assert len(finished.planted) >= 120
    refused = [row for row in jsonl.read(synthesized / "rejected.jsonl") if "twin" in row]
    assert len(refused) >= len(finished.planted)

    chats = training_mix(run.coverage, [synthesized], {}, settings_of(run).synthesis).chats
    trained = manifest(run.round(2) / "finetune")
    assert trained is not None and trained.counts["pairs"] == len(chats)
    texts = {message["content"] for chat in chats for message in chat.messages}
    assert not texts & {leak["instruction"] for leak in map(json.loads, finished.planted)}
    assert not [text for text in texts if any(guarded.lower() in text.lower() for guarded in finished.guarded)]
