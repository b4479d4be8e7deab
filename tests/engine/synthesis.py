"""The synthesis against a scripted service: its coverage rows, what the model fails at, and the stage in a run."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web
from msgspec.structs import replace
from scripted import Handler, Service, completion, serving

from engine.dataset.contamination import fingerprints
from engine.protocol import jsonl
from engine.protocol.decision import PromptScore
from engine.protocol.events import Event, Log
from engine.protocol.rows import Message, Pair, prompt_id
from engine.protocol.run_dir import Run
from engine.protocol.stages import SYNTHESIZE
from engine.service import prompts
from engine.service.client import Client
from engine.service.ledger import Ledger
from engine.settings.schema import Migration
from engine.stages import synthesize
from engine.stages.base import ServiceJob, record
from engine.stages.synthesize import SynthesisRequest

PROMPTS = prompts.load(None)
DEV = "The dev prompt tells of seven swans that swam in the Danube on a very cold day"
DEVS = {
    "weak": [DEV, *(f"A dev prompt of {n} herons and {n * 3} frogs in a pond" for n in range(2, 7))],
    "strong": [DEV[::-1], *(f"The dev prompt of {n} magpies with {n * 5} shiny spoons" for n in range(2, 7))],
}
TEST = "The sealed prompt tells of nine owls that sat in an oak tree by the light of the moon"
EARLIER = "The earlier prompt tells of four storks that built a nest upon the chimney of a mill"


def pair(text: str, category: str = "", system: str = "", turns: int = 0) -> Pair:
    prompt: list[Message] = [{"role": "system", "content": system}] if system else []
    for turn in range(turns):
        prompt += [{"role": "user", "content": f"turn {turn}"}, {"role": "assistant", "content": f"answer {turn}"}]
    prompt.append({"role": "user", "content": text})
    return Pair(
        id=prompt_id(prompt),
        messages=[*prompt, {"role": "assistant", "content": f"Reply to: {text}"}],
        category=category,
    )


TRAIN = [pair(f"The {category} seed number {n}", category) for category in ("weak", "strong") for n in range(5)]


def settings(**synthesis: Any) -> Migration:
    return Migration.model_validate(
        {
            "task": {"topic": "birds"},
            "coverage": {"source": "a.jsonl"},
            "service": {"model": "sandbox"},
            "synthesis": {"pairs_per_call": 2, **synthesis},
        }
    )


def coverage(folder: Path, train: list[Pair] = TRAIN) -> Path:
    found = folder / "coverage"
    test = [pair(TEST)]
    dev = [pair(text, category) for category, texts in DEVS.items() for text in texts]
    for name, pairs in (("train", train), ("dev", dev), ("test", test)):
        jsonl.write(found / f"{name}.jsonl", (row.to_row() for row in pairs))
    jsonl.write(found / "fingerprints.jsonl", (dict(row) for row in fingerprints([*dev, *test])))
    return found


def weak() -> list[PromptScore]:
    """The local model fails at "weak" and is perfect at "strong"."""
    points = {"weak": 1.0, "strong": 100.0}
    return [
        PromptScore(id=pair(text).id, precision=points[kind], similarity=points[kind])
        for kind, texts in DEVS.items()
        for text in texts
    ]


def written(*texts: str, response: Any = "A response") -> web.Response:
    return completion(json.dumps({"contents": [{"instruction": text, "response": response} for text in texts]}))


def fresh() -> Callable[[], web.Response]:
    """Pairs that nobody has seen, two a call."""
    dice = random.Random(0)

    def text() -> str:
        return " ".join("".join(dice.choices("abcdefghij", k=6)) for _ in range(12))

    return lambda: written(text(), text())


class Synthesis:
    """The stage in a run's folder, each time with a new client, as another worker would have."""

    def __init__(self, folder: Path, base: str, found: Migration) -> None:
        self.folder, self.base, self.settings = folder, base, found
        self.events: list[Event] = []
        self.request_changes: dict[str, Any] = {}
        self.out = folder / "round-01" / "synthesize"
        if not (folder / "coverage").exists():
            coverage(folder)

    async def run(self, wanted: int, *, round_: int = 1) -> list[jsonl.Row]:
        request = replace(SynthesisRequest(pairs=wanted, weak=weak()), **self.request_changes)
        with closing(Ledger(self.folder / "ledger.sqlite")) as ledger:
            self.client = Client(self.settings.service, ledger, sandbox_base=self.base)
            job = ServiceJob(
                run=Run(self.folder),
                settings=self.settings,
                round=round_,
                folder=self.out,
                emit=self.events.append,
                client=self.client,
                prompts=PROMPTS,
            )
            await record(SYNTHESIZE, job, partial(synthesize.run, request=request))
        return list(jsonl.read(self.out / "pairs.jsonl"))

    @property
    def rejected(self) -> list[jsonl.Row]:
        return list(jsonl.read(self.out / "rejected.jsonl"))

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Log)]


@asynccontextmanager
async def synthesis(handler: Handler, folder: Path, **changes: Any) -> AsyncIterator[tuple[Service, Synthesis]]:
    async with serving(handler) as service:
        yield service, Synthesis(folder, service.base, settings(**changes))
