"""One way in which a provider behaves, what must come of it, and a stage that meets it on loopback."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import httpx
from mocking import clock, wire
from mocking.replies import SERVICE_WORTH
from mocking.server import Mock, Respond, mocking

from engine.dataset.contamination import fingerprints
from engine.protocol import jsonl
from engine.protocol.decision import PromptScore
from engine.protocol.errors import LlamaDuoError
from engine.protocol.events import Event, Log
from engine.protocol.rows import Message, Pair, Response, prompt_id
from engine.protocol.run_dir import Run
from engine.service import database, prompts
from engine.service.cache import Cache
from engine.service.client import Client
from engine.service.ledger import Ledger
from engine.service.models import load_litellm
from engine.settings.schema import Migration
from engine.stages import judge, synthesize, teacher
from engine.stages.base import ServiceJob
from engine.stages.synthesize import SynthesisRequest

PROMPTS = prompts.load(None)
KEY = "sk-planted-0123456789abcdef"
PRICES = {"input_price": 1.0, "output_price": 10.0}
"""USD for a million tokens."""

LONGEST_S = 3 * 3600.0
"""Simulated seconds after which a stage counts as hung."""

CENT = 1e-9
"""The rounding error of a bill."""

Stage = Literal["judge", "teacher", "synthesize"]
STAGE_NAMES: tuple[Stage, ...] = ("judge", "teacher", "synthesize")


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How a provider behaves (`respond` makes it, with fresh state), who meets it, and what must come of it.

    `count` verdicts, answers or pairs are wanted of a `model`, in `lives` workers one after the other; each new life
    has the ledger of the one before, unless it is a `new_run`, which shares the user's cache alone. `right` of them
    are right at the end of the last life and `left_out` are told as missing, none is wrong. The last life `ends` with
    an error that holds this text ("": it lives) and whose hint holds all of `hint` and none of `not_hint`; the lives
    before it end with `ended`. Warnings hold all of `told`. At most `requests` reach the provider. What is booked is
    what is `billed`; `at least` that where replies are lost and others come; a `bound` of it where none comes, or where
    a stage ends with calls in flight; an `estimate` where the reply says nothing of tokens. The last life takes at
    least and at most so many simulated seconds as `seconds` says.
    """

    name: str
    respond: Callable[[], Respond]
    model: str = "openai/gpt-4o"
    stage: Stage = "judge"
    count: int = 4
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    address: str | None = None
    unknown_names: int = socket.EAI_NONAME
    lives: int = 1
    new_run: bool = False
    right: int | None = None
    left_out: int = 0
    ends: str = ""
    hint: tuple[str, ...] = ()
    not_hint: tuple[str, ...] = ()
    ended: str = ""
    told: tuple[str, ...] = ()
    requests: int | None = None
    booked: Literal["billed", "at least", "bound", "estimate"] = "billed"
    seconds: tuple[float, float] = (0.0, 3600.0)
    check: Callable[[Played], Iterator[str]] = lambda _: iter(())


@dataclass(kw_only=True)
class Played:
    """What came of it, in the last life; requests, bills and bookings of all lives."""

    mock: Mock
    right: int = 0
    wrong: int = 0
    missing: int = 0
    error: str = ""
    hint: str = ""
    ended: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    spent: float = 0.0
    resumed: float = 0.0
    """USD by the ledger, as a worker that resumes counts them."""
    blocking: list[str] = field(default_factory=list)
    """Requests that stood in the way of all others."""
    ledger: Path | None = None


def play(behaviour: Behaviour, folder: Path) -> Played:
    """Let a stage meet the provider, without waiting in earnest."""
    load_litellm().in_memory_llm_clients_cache.flush_cache()
    return clock.run(_play(behaviour, folder))


def problems(behaviour: Behaviour, played: Played) -> Iterator[str]:
    """What is not as it must be; nothing where all is."""
    count = behaviour.count
    right = behaviour.right if behaviour.right is not None else 0 if behaviour.ends else count - behaviour.left_out
    if behaviour.ends not in (said := f"{played.error} ") or bool(behaviour.ends) != bool(played.error):
        yield f"ends with {said!r} (hint {played.hint!r}), not {behaviour.ends!r}"
    yield from (f"hint {played.hint!r} lacks {word!r}" for word in behaviour.hint if word not in played.hint)
    yield from (f"hint {played.hint!r} holds {word!r}" for word in behaviour.not_hint if word in played.hint)
    for ended in played.ended:
        if behaviour.ended not in ended or bool(ended) != bool(behaviour.ended):
            yield f"an earlier life ends with {ended!r}, not {behaviour.ended!r}"
    if played.wrong:
        yield f"{played.wrong} are wrong"
    if played.right != right or (not behaviour.ends and played.missing != behaviour.left_out):
        yield f"{played.right} right and {played.missing} left out, not {right} and {behaviour.left_out}"
    heard = " | ".join(played.warnings)
    yield from (f"no warning of {word!r}, but {heard[:300]!r}" for word in behaviour.told if word not in heard)
    if behaviour.requests is not None and len(played.mock.asked) > behaviour.requests:
        yield f"{len(played.mock.asked)} requests, not {behaviour.requests}"
    yield from _misbooked(behaviour, played)
    if not behaviour.seconds[0] <= played.seconds <= behaviour.seconds[1]:
        yield f"took {played.seconds:.0f} s, not {behaviour.seconds[0]:g} to {behaviour.seconds[1]:g}"
    blocking = Counter(played.blocking)
    yield from (f"blocks the loop {count} times: {request}" for request, count in blocking.items())
    yield from behaviour.check(played)


def _misbooked(behaviour: Behaviour, played: Played) -> Iterator[str]:
    billed, spent = played.mock.usd(PRICES["input_price"], PRICES["output_price"]), played.spent
    if abs(spent - played.resumed) > CENT:
        yield f"${spent:.6f} are spent, but a resume counts ${played.resumed:.6f}"
    if behaviour.booked == "billed" and abs(spent - billed) > CENT:
        yield f"${spent:.6f} are booked and ${billed:.6f} billed"
    if behaviour.booked == "at least" and not billed - CENT <= spent <= 3 * billed + CENT:
        yield f"${spent:.6f} are booked and ${billed:.6f} billed, some of it for lost replies"
    if behaviour.booked == "bound" and spent < billed - CENT:
        yield f"${spent:.6f} are booked, less than the ${billed:.6f} that are billed"
    if behaviour.booked == "estimate" and not billed / 4 <= spent <= 4 * billed:
        yield f"${spent:.6f} are booked, an estimate of ${billed:.6f}"


async def _play(behaviour: Behaviour, folder: Path) -> Played:
    async with AsyncExitStack() as stack:
        mock = await stack.enter_async_context(mocking(behaviour.respond()))
        stack.push_async_callback(load_litellm().close_litellm_async_clients)
        played = Played(mock=mock)
        with _surroundings(behaviour, played), closing(Cache(folder / "cache.sqlite")) as cache:
            for life in range(1, behaviour.lives + 1):
                if life > 1:
                    played.ended.append(played.error)
                mock.life = life
                await _live(behaviour, folder / str(life if behaviour.new_run else 1), cache, played)
    return played


async def _live(behaviour: Behaviour, folder: Path, cache: Cache, played: Played) -> None:
    """One life of a worker, as far as one stage."""
    settings = _settings(behaviour, played.mock.base)
    events: list[Event] = []
    spent_before = played.spent if behaviour.new_run else 0.0
    resumed_before = played.resumed if behaviour.new_run else 0.0
    folder.mkdir(exist_ok=True)
    played.ledger = folder / "ledger.sqlite"
    played.error = played.hint = ""
    with closing(Ledger(folder / "ledger.sqlite")) as ledger:
        warn = played.warnings.append
        client = Client(
            settings.service,
            ledger,
            cache=cache,
            on_trouble=warn,
            on_note=warn,
            on_used_up=lambda short: warn(str(short)),
        )
        began = clock.CLOCK.monotonic()
        try:
            async with asyncio.timeout(LONGEST_S):
                await _work(behaviour, folder, settings, client, events)
        except LlamaDuoError as error:
            played.error, played.hint = error.message, error.hint
        except (ValueError, TypeError, AttributeError, LookupError, AssertionError) as error:
            played.error = f"TRACEBACK {type(error).__name__}: {error}"
        except TimeoutError:
            played.error = f"NEVER ENDS: still at work after {LONGEST_S:.0f} s"
        finally:
            await client.close()
        played.seconds = clock.CLOCK.monotonic() - began
        played.spent = spent_before + client.spent
    with closing(Ledger(folder / "ledger.sqlite")) as ledger:
        played.resumed = resumed_before + ledger.totals().cost_usd + sum(ledger.interrupted_costs)
    played.warnings += [event.message for event in events if isinstance(event, Log)]
    played.right, played.wrong, played.missing = _RESULTS[behaviour.stage](folder, behaviour.count)


def _settings(behaviour: Behaviour, base: str) -> Migration:
    where = (behaviour.address or wire.address(base, behaviour.model)).replace("{https}", base.replace("http", "https"))
    service = {"api_base": where, "api_key_env": "MOCK_API_KEY", "timeout_s": 30.0, "patience_s": 120.0, **PRICES}
    return Migration.model_validate(
        {
            "task": {"topic": "birds"},
            "coverage": {"source": "a.jsonl"},
            "service": {"model": behaviour.model, **service, **behaviour.settings},
            "judge": {"repeats": 1},
            "synthesis": {"pairs_per_call": 2},
        }
    )


async def _work(behaviour: Behaviour, folder: Path, settings: Migration, client: Client, events: list[Event]) -> None:
    job = ServiceJob(
        run=Run(folder),
        settings=settings,
        round=0,
        folder=folder / "round-00" / behaviour.stage,
        emit=events.append,
        client=client,
        prompts=PROMPTS,
    )
    job.folder.mkdir(parents=True, exist_ok=True)
    _WRITERS[behaviour.stage](folder, behaviour.count)
    await STAGES[behaviour.stage](job, behaviour.count)


async def _synthesize(job: ServiceJob, count: int) -> None:
    weak = [PromptScore(id=row.id, precision=10.0, similarity=10.0) for row in _pairs("dev", 4)]
    await synthesize.run(job, request=SynthesisRequest(pairs=count, weak=weak))


STAGES: dict[Stage, Callable[[ServiceJob, int], Any]] = {
    "judge": lambda job, _: judge.run(job),
    "teacher": lambda job, _: teacher.run(job),
    "synthesize": _synthesize,
}


# What the stages read


def responses(count: int) -> list[Response]:
    """Responses to judge; each says what it is worth."""
    return [
        Response(
            id=f"p{n}",
            sample=0,
            prompt=[{"role": "user", "content": f"This is question {n}: which bird is number {n}?"}],
            target=f"bird {n}",
            response=f"answer {n} worth {worth(n)}",
            finish_reason="stop",
            prompt_tokens=3,
            completion_tokens=1,
            model="tiny",
            adapter="",
        )
        for n in range(count)
    ]


def worth(number: int) -> int:
    return 1 + number * 37 % 100


def write_responses(folder: Path, count: int) -> None:
    jsonl.write(folder / "round-00" / "infer" / "responses.jsonl", (row.to_row() for row in responses(count)))


def _pairs(kind: str, count: int) -> list[Pair]:
    found = []
    for number in range(count):
        prompt: list[Message] = [
            {"role": "user", "content": f"The {kind} prompt {number} tells of {number * 7} herons"}
        ]
        said: Message = {"role": "assistant", "content": f"Reply {number}"}
        found.append(Pair(id=prompt_id(prompt), messages=[*prompt, said], category=""))
    return found


def write_coverage(folder: Path, count: int) -> None:
    coverage = folder / "coverage"
    dev, test = _pairs("dev", 4), _pairs("test", 4)
    for name, pairs in (("train", _pairs("train", 8 + 2 * count)), ("dev", dev), ("test", test)):
        jsonl.write(coverage / f"{name}.jsonl", (row.to_row() for row in pairs))
    jsonl.write(coverage / "fingerprints.jsonl", (dict(row) for row in fingerprints([*dev, *test])))


_WRITERS: dict[Stage, Callable[[Path, int], None]] = {
    "judge": write_responses,
    "teacher": write_responses,
    "synthesize": write_coverage,
}


# What they wrote: right, wrong, left out


Result = tuple[int, int, int]


def judged(folder: Path, count: int) -> Result:
    file = folder / "round-00" / "judge" / "verdicts.jsonl"
    rows = list(jsonl.read(file)) if file.exists() else []
    expected = {row.id: (worth(n), 101 - worth(n)) for n, row in enumerate(responses(count))}
    return _compared([((row["similarity"], row["precision"]), expected[row["id"]], bool(row["error"])) for row in rows])


def taught(folder: Path, count: int) -> Result:
    """An answer of the service counts where it and its verdict are right."""
    file = folder / "round-00" / "teacher" / "infer" / "responses.jsonl"
    rows = list(jsonl.read(file)) if file.exists() else []
    expected = {row.id: f"answer {n} worth {SERVICE_WORTH}" for n, row in enumerate(responses(count))}
    right, wrong, _ = _compared([(row["response"], expected[row["id"]], False) for row in rows])
    verdicts = folder / "round-00" / "teacher" / "judge" / "verdicts.jsonl"
    scored = list(jsonl.read(verdicts)) if verdicts.exists() else []
    wrong += sum(row["similarity"] not in (SERVICE_WORTH, None) for row in scored)
    return right, wrong, count - len(rows)


def written(folder: Path, count: int) -> Result:
    file = folder / "round-00" / "synthesize" / "pairs.jsonl"
    rows = list(jsonl.read(file)) if file.exists() else []
    texts = [row["messages"][-1]["content"] for row in rows]
    right = sum(text.startswith("written ") for text in texts)
    return right, len(texts) - right, count - len(texts) if rows else 0


def _compared(rows: list[tuple[Any, Any, bool]]) -> Result:
    missing = sum(left_out for _, _, left_out in rows)
    right = sum(found == expected for found, expected, left_out in rows if not left_out)
    return right, len(rows) - missing - right, missing


_RESULTS: dict[Stage, Callable[[Path, int], Result]] = {"judge": judged, "teacher": taught, "synthesize": written}


# The surroundings


@contextmanager
def _surroundings(behaviour: Behaviour, played: Played) -> Iterator[None]:
    """A key, names that nobody knows, and no request that blocks the loop."""
    real_names = socket.getaddrinfo
    environment = {"MOCK_API_KEY": KEY, "NO_PROXY": "", "AZURE_API_VERSION": "2024-10-21", **behaviour.environment}
    environment = {name: value.replace("{base}", played.mock.base) for name, value in environment.items()}

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(host, str | bytes) and (host if isinstance(host, str) else host.decode()).endswith(".invalid"):
            said = {
                socket.EAI_NONAME: "Name or service not known",
                socket.EAI_AGAIN: "Temporary failure in name resolution",
            }
            raise socket.gaierror(behaviour.unknown_names, said[behaviour.unknown_names])
        return real_names(host, *args, **kwargs)

    def blocked(_: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        played.blocking.append(f"{request.method} {request.url.path}")
        raise httpx.ConnectError("the loop must not be blocked", request=request)

    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, environment))
        stack.enter_context(patch.object(database, "GATHER_S", 0.0))
        stack.enter_context(patch.object(socket, "getaddrinfo", getaddrinfo))
        stack.enter_context(patch.object(httpx.HTTPTransport, "handle_request", blocked))
        yield


__all__ = ["Behaviour", "Played", "partial", "play", "problems"]
