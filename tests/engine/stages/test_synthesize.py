import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from scripted import Handler, Service, always, completion, error, prompt_of, serving

from engine.dataset.contamination import fingerprints
from engine.protocol import jsonl
from engine.protocol.decision import PromptScore
from engine.protocol.errors import ServiceError, StageError
from engine.protocol.events import Event, Log
from engine.protocol.limits import MOST_PAIRS
from engine.protocol.manifest import manifest
from engine.protocol.rows import Message, Pair, SyntheticPair, prompt_id
from engine.protocol.run_dir import Run
from engine.protocol.stages import SYNTHESIZE
from engine.sandbox import tickets
from engine.sandbox.server import Settings, create_app
from engine.service import prompts
from engine.service.client import Client
from engine.service.ledger import Ledger
from engine.settings.schema import Contract, Migration, Task
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


async def test_as_many_pairs_as_wanted(tmp_path: Path) -> None:
    async with synthesis(always(fresh()), tmp_path) as (service, stage):
        rows = await stage.run(7)

    assert len(rows) == 7 and len(service.bodies) == 4 and stage.warnings == []
    seeds = {seed.id: seed for seed in TRAIN}
    for row in rows:
        prompt, answer = row["messages"]
        assert row["id"] == prompt_id([prompt]) and answer == {"role": "assistant", "content": "A response"}
        assert (row["generator"], row["round"]) == ("sandbox", 1)
        assert row["category"] == seeds[row["seed_id"]].category
    assert len({row["id"] for row in rows}) == 7
    done = manifest(stage.out)
    assert done is not None and done.counts == {"accepted": 7, "rejected": 0, "calls": 4}


def near(text: str) -> str:
    """So like another prompt that it must not enter: other case, spaces and marks."""
    return f"  {text.upper()}!!"


REFUSED = {
    "of train": (TRAIN[0].prompt[0]["content"], "same prompt"),
    "near train": (near(TRAIN[0].prompt[0]["content"]), "near-duplicate prompt"),
    "of dev": (DEV, "same prompt"),
    "near dev": (near(DEV), "near-duplicate prompt"),
    "of test": (TEST, "same prompt"),
    "near test": (near(TEST), "near-duplicate prompt"),
    "of an earlier round": (EARLIER, "same prompt"),
    "near an earlier round": (near(EARLIER), "near-duplicate prompt"),
    "too long": ("word " * 10_000, "too long"),
    "an escape sequence": ("Look at \x1b]52;c;aGk=\x07 this", "control characters"),
    "a C1 code": ("Look at \x9b31m this", "control characters"),
    "half a character": ("Look at \ud83d this", "control characters"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_and_why(tmp_path: Path, name: str) -> None:
    text, reason = REFUSED[name]
    earlier = tmp_path / "round-00" / "synthesize" / "pairs.jsonl"
    known = pair(EARLIER)
    jsonl.write(
        earlier,
        [
            SyntheticPair(
                id=known.id, messages=known.messages, category="", generator="sandbox", seed_id=TRAIN[0].id, round=0
            ).to_row()
        ],
    )
    async with synthesis(always(lambda: written(text, "A good one"), fresh()), tmp_path) as (_, stage):
        rows = await stage.run(2)

    assert [row["reason"] for row in stage.rejected] == [reason]
    assert ("twin" in stage.rejected[0]) == ("prompt" in reason)
    assert text not in [row["messages"][0]["content"] for row in rows] and len(rows) == 2


async def test_a_pair_is_accepted_once(tmp_path: Path) -> None:
    async with synthesis(always(lambda: written("One that is new", near("One that is new"))), tmp_path) as (_, stage):
        rows = await stage.run(2)

    assert len(rows) == 1
    assert {row["reason"] for row in stage.rejected} == {"near-duplicate prompt", "same prompt"}


async def test_a_response_with_control_characters_or_without_end(tmp_path: Path) -> None:
    responses = [lambda: written("a b c", response="x\x07"), lambda: written("d e f", response="x" * 40_000), fresh()]
    async with synthesis(always(*responses), tmp_path) as (_, stage):
        await stage.run(6)

    assert sorted(row["reason"] for row in stage.rejected) == ["control characters", "too long"]


async def test_a_pair_that_breaks_the_contract_is_refused(tmp_path: Path) -> None:
    responses = [lambda: written("What is it about?", "Another that is not"), fresh()]
    async with synthesis(always(*responses), tmp_path) as (_, stage):
        task = Task(topic="birds", contract=Contract(pattern="A response|Reply.*", max_chars=11))
        stage.settings = stage.settings.model_copy(update={"task": task})
        await stage.run(2)
        assert stage.rejected == []
        stage.settings = stage.settings.model_copy(update={"task": Task(contract=Contract(pattern="yes|no"))})
        with pytest.raises(StageError, match="breaks the contract: does not match the pattern"):
            await stage.run(2)


async def test_a_wave_is_small_whatever_number_of_pairs_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthesize, "MOST_AT_ONCE", 3)
    async with synthesis(always(*[fresh()] * 6, lambda: written(DEV, TEST)), tmp_path) as (service, stage):
        rows = await stage.run(MOST_PAIRS)

    assert len(rows) == 12 and len(service.bodies) == 9
    assert stage.warnings[0].startswith("12 of 1000000 pairs: the service writes too few usable ones")


async def test_a_low_yield_ends_with_a_warning(tmp_path: Path) -> None:
    async with synthesis(always(fresh(), lambda: written(DEV, TEST)), tmp_path) as (service, stage):
        rows = await stage.run(40)

    assert len(rows) == 2
    # The first wave brought 2 of 40 pairs: no second one is paid for.
    assert len(service.bodies) == 20
    (warning,) = stage.warnings
    assert warning == "2 of 40 pairs: the service writes too few usable ones; refused: same prompt (38)"


async def test_enough_is_no_low_yield(tmp_path: Path) -> None:
    """The last wave asks for little, and little is then no sign of a dry service."""
    responses = [lambda: written(*(f"pair number {n} of {n * 7} and {n * 13}" for n in range(39))), fresh()]
    async with synthesis(always(*responses), tmp_path, pairs_per_call=50) as (service, stage):
        rows = await stage.run(40)

    assert len(rows) == 40 and len(service.bodies) == 2
    assert stage.warnings == []


@pytest.mark.parametrize("reply", [lambda: completion("no"), lambda: completion(""), lambda: written(TEST)])
async def test_no_pair_at_all_is_a_failure(tmp_path: Path, reply: Callable[[], web.Response]) -> None:
    async with synthesis(always(reply), tmp_path) as (_, stage):
        with pytest.raises(StageError, match=r"no usable pair: (unreadable reply|same prompt)"):
            await stage.run(4)

    assert manifest(stage.out) is None


async def test_a_refused_call_costs_only_itself(tmp_path: Path) -> None:
    policy = "Your request was rejected as a result of our safety system. content_policy_violation"
    async with synthesis(always(lambda: error(400, policy, "content_policy_violation"), fresh()), tmp_path) as (
        _,
        stage,
    ):
        rows = await stage.run(8)

    assert len(rows) == 8
    (refused,) = stage.rejected
    assert refused["reason"].startswith("refused: ") and refused["seed_id"] in {seed.id for seed in TRAIN}


def seeds_asked(service: Service) -> Counter[str]:
    return Counter("weak" if "The weak seed" in prompt else "strong" for prompt in service.prompts)


async def test_failures_draw_more_from_where_the_model_is_weak(tmp_path: Path) -> None:
    async with synthesis(always(fresh()), tmp_path) as (service, stage):
        await stage.run(200)

    asked = seeds_asked(service)
    # 30 % of the seeds come from all alike, so that what works is not forgotten.
    assert 0.65 < asked["weak"] / asked.total() < 0.95


async def test_calls_differ_in_what_they_ask_for_as_the_train_rows_do(tmp_path: Path) -> None:
    async with synthesis(always(fresh()), tmp_path) as (service, stage):
        await stage.run(60)

    lines = re.compile(r"^Kind: .*\nLength: .*\nForm: .*\n(?:Subject: .*\n)?Difficulty: .*$", re.MULTILINE)
    asked = [lines.search(prompt) for prompt in service.prompts]
    assert len({found[0] for found in asked if found}) >= 3
    for found, prompt in zip(asked, service.prompts, strict=True):
        assert found and found[0].startswith("Kind: weak." if "The weak seed" in prompt else "Kind: strong.")
        assert "Length: about 5 words.\nForm: with figures." in found[0]


async def test_seeds_are_near_to_what_broke_the_contract(tmp_path: Path) -> None:
    """Of the strong prompts those of magpies broke it: the train rows with magpies are asked for more."""
    rows = [pair(f"Here {n} birds {kind} over a lake", "strong") for kind in ("sing", "magpies") for n in range(5)]
    coverage(tmp_path, [*rows, pair("Weak one", "weak")])
    broken = {pair(text).id: "not JSON" for text in DEVS["strong"][1:]}
    even = [PromptScore(id=score.id, precision=50, similarity=50) for score in weak()]
    async with synthesis(always(fresh()), tmp_path) as (service, stage):
        stage.request_changes = {"breaches": broken, "weak": even}
        await stage.run(300)

    count = Counter("magpies" in prompt.partition("</instruction>")[0] for prompt in service.prompts)
    assert count[True] > 0.55 * count.total()


def judging(score: Callable[[str], object]) -> Handler:
    """Writes fresh pairs, and scores them."""
    new = fresh()

    async def handler(_service: Service, request: web.Request) -> web.StreamResponse:
        prompt = await prompt_of(request)
        if '"precision_assessment"' not in prompt:
            return new()
        assert "similarity" not in prompt
        return completion(json.dumps({"precision_assessment": {"score": score(prompt), "reason": "so"}}))

    return handler


async def test_pairs_below_the_least_score_are_refused(tmp_path: Path) -> None:
    seen: list[str] = []

    def score(prompt: str) -> object:
        seen.append(prompt)
        return 69 if len(seen) % 3 else 70

    async with synthesis(judging(score), tmp_path, min_score=70) as (_, stage):
        rows = await stage.run(6)

    assert len(rows) == 6 and len(seen) >= 18
    assert {row["reason"] for row in stage.rejected} == {"scored below 70"}
    assert {row["score"] for row in stage.rejected} == {69}
    kept = {row["messages"][0]["content"] for row in rows}
    assert not kept & {row["messages"][0]["content"] for row in stage.rejected}


async def test_a_pair_that_no_judge_can_score_is_refused(tmp_path: Path) -> None:
    said: list[int] = []

    def score(prompt: str) -> object:
        said.append(1)
        return "excellent" if len(said) <= 8 else 90

    async with synthesis(judging(score), tmp_path, min_score=70) as (_, stage):
        rows = await stage.run(4)

    assert len(rows) == 4
    assert all(row["reason"].startswith("not judged: the precision score") for row in stage.rejected)


async def test_without_a_least_score_nothing_is_judged(tmp_path: Path) -> None:
    async with synthesis(judging(lambda _: 1), tmp_path) as (service, stage):
        await stage.run(6)

    assert len(service.bodies) == 3


async def test_uniform_draws_from_all_alike(tmp_path: Path) -> None:
    async with synthesis(always(fresh()), tmp_path, strategy="uniform") as (service, stage):
        await stage.run(200)

    asked = seeds_asked(service)
    assert 0.35 < asked["weak"] / asked.total() < 0.65


async def test_dev_and_test_text_is_never_told(tmp_path: Path) -> None:
    async with synthesis(always(lambda: written(DEV, TEST), fresh()), tmp_path) as (service, stage):
        await stage.run(60)

    sent = json.dumps(service.bodies)
    assert "seed number" in sent
    for text in (*DEVS["weak"], *DEVS["strong"], TEST):
        assert text[:20] not in sent and f"Reply to: {text}"[:30] not in sent
    for word in ("heron", "frog", "magpie", "spoon", "swan", "danube", "owl"):
        assert word not in sent.casefold()


async def test_the_same_seed_asks_the_same(tmp_path: Path) -> None:
    asked: list[list[str]] = []
    for name, seed, round_ in (("a", 1, 1), ("b", 1, 1), ("c", 2, 1), ("d", 1, 2)):
        async with synthesis(always(fresh()), tmp_path / name) as (service, stage):
            stage.settings = stage.settings.model_copy(
                update={"loop": stage.settings.loop.model_copy(update={"seed": seed})}
            )
            await stage.run(20, round_=round_)
            asked.append(sorted(service.prompts))

    assert asked[0] == asked[1]
    assert asked[2] != asked[0] != asked[3]


async def test_after_a_crash_nothing_is_paid_again(tmp_path: Path) -> None:
    """A call fails; the next worker gets those before it from the ledger, and a third one all of them."""
    new = fresh()

    async def handler(service: Service, _request: web.Request) -> web.StreamResponse:
        return error(401) if len(service.bodies) == failing else new()

    failing = 7
    async with synthesis(handler, tmp_path) as (_, stage):
        with pytest.raises(ServiceError):
            await stage.run(20)
        assert manifest(stage.out) is None
        paid = stage.client.usage.calls
        failing = 0
        rows = await stage.run(20)
        again = await stage.run(20)

    assert paid > 0 and len(rows) == 20
    assert stage.client.usage.calls == 10 and stage.client.usage.cached_calls == 10
    assert again == rows


async def test_a_pair_stands_under_the_system_prompt_of_its_seed(tmp_path: Path) -> None:
    coverage(tmp_path, [pair("Seed", system="Be brief.", turns=2)])
    async with synthesis(always(fresh()), tmp_path, strategy="uniform") as (service, stage):
        rows = await stage.run(2)

    assert [[message["role"] for message in row["messages"]] for row in rows] == [["system", "user", "assistant"]] * 2
    assert rows[0]["messages"][0]["content"] == "Be brief."
    assert "turn 0" in service.prompts[0]


@pytest.mark.parametrize("faults", ["", "garbage=0.2,truncated=0.2,fenced=0.2,empty=0.1"])
async def test_with_the_sandbox_on_a_bad_day(tmp_path: Path, faults: str) -> None:
    dice = random.Random(3)
    made = [tickets.write_ticket(dice) for _ in range(12)]
    train = [pair(ticket) for ticket, _ in made]
    train = [
        Pair(id=p.id, messages=[*p.prompt, {"role": "assistant", "content": answer}])
        for p, (_, answer) in zip(train, made, strict=True)
    ]
    coverage(tmp_path, train)
    async with TestServer(create_app(Settings(faults=faults))) as server:
        stage = Synthesis(tmp_path, str(server.make_url("/v1")), settings(strategy="uniform"))
        rows = await stage.run(30)

    assert len(rows) == 30
    assert all(json.loads(row["messages"][-1]["content"]) for row in rows)
