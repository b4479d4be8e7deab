"""A weekend: 400 verdicts and 200 pairs from a service in every trouble; `--check` exits 1 where a bar is missed.

    python bench/weekend.py [--check]

The service limits requests, tokens, and bursts without a word; is overloaded, drops connections, drips, filters, sends
nothing, thinks past its tokens, fails inside a 200, refuses the old key, is out of reach for hours, and changes its
model. Each trouble begins once so many answers were given, and lasts for minutes or hours of a simulated clock: waiting
is jumped over, by `time.time`, `time.monotonic` and the event loop alike, so that backoff, patience and time-outs are
the product's own, at their true lengths. The real stages do the work; where the key is refused the worker ends, and the
next one starts with the new key. A person raises the budget by $1 where a run asks for it, which it does for lost
replies that may have been billed.

Bars: every verdict and pair is right or honestly left out, nothing that arrived whole is paid twice, the ledger has
what was billed, the budget is kept, and a worker ends for a refused key alone.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import os
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from figures import Figure, show

from engine.protocol.errors import ServiceError
from engine.protocol.events import Event, Log
from engine.protocol.run_dir import Run
from engine.service import database
from engine.service.budget import Shortage
from engine.service.client import Client
from engine.service.ledger import Ledger
from engine.settings.schema import Migration
from engine.stages.base import ServiceJob

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "engine"))
from behaviour import PRICES, PROMPTS, STAGES, Stage, judged, write_coverage, write_responses, written
from behaviours.accounts import WRONG_KEY
from behaviours.limits import SILENT, openai_limit, tokens_of
from behaviours.network import UNAVAILABLE
from behaviours.replies import empty, filtered
from mocking import clock
from mocking.replies import WORTH, cut, limited, lost, page, refused, right_text, said, unless
from mocking.server import Ask, Mock, Reply, Respond, mocking

VERDICTS, PAIRS = 400, 200
FILTERED = tuple(range(37, VERDICTS, 100))
"""The responses whose verdicts the service always filters."""

HOUR, MINUTE = 3600.0, 60.0
CENT = 1e-9


@dataclass
class Trouble:
    """What the service does for a time, from its so-many-th answer on; `hits` counts the requests that met it."""

    name: str
    after: int
    seconds: float
    respond: Respond
    began: float = math.inf
    hits: int = 0

    def meets(self, ask: Ask, answers: int) -> bool:
        if self.began == math.inf and answers >= self.after:
            self.began = ask.at
        return self.began <= ask.at < self.began + self.seconds


def troubles() -> list[Trouble]:
    """In the order in which they come; 400 answers are for the verdicts, the others for the pairs."""
    in_200 = refused(200, {"error": {"code": 502, "message": "Provider returned error"}})
    return [
        Trouble("limit of requests", 20, 45, limited(1.0, 2.0, openai_limit(retry_after="1"))),
        Trouble("limit of tokens", 60, 45, limited(900.0, 1800.0, openai_limit(), tokens=tokens_of)),
        Trouble("limit with burst 1, nothing told", 100, 60, limited(1.0, 1.0, SILENT)),
        Trouble("overload", 160, 20 * MINUTE, UNAVAILABLE),
        Trouble("dropped connections", 180, 10 * MINUTE, lost("closed", paid=False)),
        Trouble("replies cut in the middle", 190, 5, lost("cut")),
        Trouble("replies that drip", 200, 5 * MINUTE, lost("drip")),
        Trouble("empty replies", 215, 20, empty),
        Trouble("a gateway's page", 230, 10 * MINUTE, page(502, "502 Bad Gateway")),
        Trouble("errors inside a 200", 320, 5 * MINUTE, in_200),
        Trouble("limit with burst 1 again", 400, 30, limited(1.0, 1.0, SILENT)),
        Trouble("overload again", 430, 30 * MINUTE, UNAVAILABLE),
        Trouble("thoughts past the tokens", 440, MINUTE, unless(lambda ask: (ask.max_tokens or 0) < 16_000, cut)),
        Trouble("filtered pairs", 450, 20, filtered),
        Trouble("dropped connections again", 460, 10 * MINUTE, lost("closed", paid=False)),
    ]


KEYS = ((0, "sk-old-0123456789"), (250, "sk-new-0123456789"), (470, "sk-newer-0123456789"))
"""The keys, each with the number of answers from which on it is the valid one."""


@dataclass
class Weekend:
    """The service: its troubles, its key, and the model that answers."""

    troubles: list[Trouble] = field(default_factory=troubles)
    keys: list[tuple[int, str]] = field(default_factory=lambda: list(KEYS))
    absences: list[tuple[int, float]] = field(default_factory=lambda: [(270, HOUR), (480, 2 * HOUR)])
    mock: Mock | None = None
    answers: int = 0
    away: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The key that is valid now."""
        return [key for after, key in self.keys if self.answers >= after][-1]

    def respond(self, ask: Ask) -> Reply:
        if ask.key != self.key:
            return WRONG_KEY["OpenAI"][1](ask)
        if self.absences and self.answers >= self.absences[0][0] and self.mock is not None:
            self.away.append(asyncio.create_task(self.mock.leave(self.absences.pop(0)[1])))
            return lost("closed", paid=False)(ask)
        for trouble in self.troubles:
            if trouble.meets(ask, self.answers):
                trouble.hits += 1
                reply = trouble.respond(ask)
                break
        else:
            reply = self._well(ask)
        if is_good(ask, reply) and _number(ask) in FILTERED:
            return filtered(ask)
        self.answers += is_good(ask, reply)
        return reply

    def _well(self, ask: Ask) -> Reply:
        model = "judge-2026-11-01" if self.answers < 350 else "judge-2026-11-29"
        return said(ask, right_text(ask.text), model=model, after_s=2.0)


def _number(ask: Ask) -> int | None:
    """The number of the response that is judged."""
    found = WORTH.search(ask.text)
    return int(found[1]) if found else None


def is_good(ask: Ask, reply: Reply) -> bool:
    """Whether a reply is the right answer to a question of the run, whole."""
    text = right_text(ask.text)
    return text != "ok" and reply.how == "whole" and any(reply.billed) and _says(reply) == text


def _says(reply: Reply) -> str:
    assert isinstance(reply.body, dict)
    return str(reply.body["choices"][0]["message"]["content"])


@dataclass
class Person:
    """Looks after the run: raises the budget, and changes the key where it is refused."""

    cap: float = 10.0
    raised: int = 0
    restarts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    most_spent_over_cap: float = -math.inf
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


async def work(weekend: Weekend, folder: Path, person: Person) -> None:
    """The stages, each with as many workers as it takes."""
    assert weekend.mock is not None
    write_responses(folder, VERDICTS)
    write_coverage(folder, PAIRS)
    for stage, count in (("judge", VERDICTS), ("synthesize", PAIRS)):
        os.environ["MOCK_API_KEY"] = weekend.key
        while not await _live(stage, count, weekend, folder, person):  # type: ignore[arg-type]
            os.environ["MOCK_API_KEY"] = weekend.key


async def _live(stage: Stage, count: int, weekend: Weekend, folder: Path, person: Person) -> bool:
    """One worker; whether it has finished the stage."""
    assert weekend.mock is not None
    settings = _settings(weekend.mock.base, person.cap)
    events: list[Event] = []

    def used_up(_: Shortage) -> None:
        person.raised += 1
        person.cap += 1.0
        person.tasks.append(asyncio.create_task(client.cap(person.cap, None)))

    def changed(_: object) -> None:
        person.most_spent_over_cap = max(person.most_spent_over_cap, client.spent - person.cap)

    with closing(Ledger(folder / "ledger.sqlite")) as ledger:
        client = Client(
            settings.service, ledger, on_trouble=person.warnings.append, on_used_up=used_up, on_change=changed
        )
        job = ServiceJob(
            run=Run(folder),
            settings=settings,
            round=0,
            folder=folder / "round-00" / stage,
            emit=events.append,
            client=client,
            prompts=PROMPTS,
        )
        job.folder.mkdir(parents=True, exist_ok=True)
        try:
            await STAGES[stage](job, count)
        except ServiceError as error:
            person.restarts.append(f"{error.message} ({error.hint})")
            if len(person.restarts) > 20:
                raise
            return False
        finally:
            await client.close()
            person.warnings += [event.message for event in events if isinstance(event, Log)]
    return True


def _settings(base: str, cap: float) -> Migration:
    return Migration.model_validate(
        {
            "task": {"topic": "birds"},
            "coverage": {"source": "a.jsonl"},
            "service": {
                "model": "openai/gpt-4o",
                "api_base": f"{base}/v1",
                "api_key_env": "MOCK_API_KEY",
                "patience_s": 5 * HOUR,
                "concurrency": 4,
                "budget_usd": cap,
                **PRICES,
            },
            "judge": {"repeats": 1},
            "synthesis": {"pairs_per_call": 2},
        }
    )


async def play(folder: Path) -> list[Figure]:
    weekend, person = Weekend(), Person()
    began, really = clock.CLOCK.monotonic(), clock.MONOTONIC()
    async with mocking(weekend.respond) as mock:
        weekend.mock = mock
        await work(weekend, folder, person)
    hours = (clock.CLOCK.monotonic() - began) / HOUR
    rows = list(_rows(weekend, mock, folder, person))
    return [("hours, simulated", "", f"{hours:.1f}, in {clock.MONOTONIC() - really:.0f} s", True), *rows]


def _rows(weekend: Weekend, mock: Mock, folder: Path, person: Person) -> Iterator[Figure]:
    right_, wrong, missing = judged(folder, VERDICTS)
    expected = VERDICTS - len(FILTERED)
    yield "verdicts right", str(expected), str(right_), right_ == expected
    yield "  left out: those that are always filtered", str(len(FILTERED)), str(missing), missing == len(FILTERED)
    yield "  wrong", "0", str(wrong), wrong == 0
    pairs, strange, _ = written(folder, PAIRS)
    yield "pairs right", str(PAIRS), str(pairs), pairs == PAIRS and strange == 0
    unmet = [trouble.name for trouble in weekend.troubles if not trouble.hits]
    met = f"{sum(trouble.hits for trouble in weekend.troubles):,} requests" + (f"; not met: {unmet}" if unmet else "")
    yield f"{len(weekend.troubles)} troubles, met by", "all", met, not unmet
    yield "absences of 1 and 2 hours", "2", str(len(weekend.away)), len(weekend.away) == 2
    strays = [text for text in person.restarts if "key" not in text]
    yield (
        "workers that ended, each for a refused key",
        "2",
        str(len(person.restarts)),
        len(person.restarts) == 2 and not strays,
    )
    told = any("judge-2026-11-29" in warning for warning in person.warnings)
    yield "the new model is told", "yes", "yes" if told else "no", told
    good = [ask for ask in mock.asked if ask.number in mock.delivered and is_good(ask, mock.delivered[ask.number])]
    twice = sum(
        count - 1
        for count in Counter(ask.text.partition("Reply with")[0] for ask in good if WORTH.search(ask.text)).values()
    )
    yield "verdicts paid twice", "0", str(twice), twice == 0
    usable, cost, interrupted = _booked(folder)
    whole = [mock.bills[number] for number in mock.delivered if number in mock.bills]
    billed_whole = sum(p * PRICES["input_price"] + c * PRICES["output_price"] for p, c in whole) / 1e6
    yield "good replies in the ledger", f"{len(good)}", str(usable), usable == len(good)
    same = abs(cost - billed_whole) < CENT
    yield "booked for whole replies, as billed", f"${billed_whole:.4f}", f"${cost:.4f}", same
    bill = mock.usd(PRICES["input_price"], PRICES["output_price"])
    yield (
        "booked in all, with lost replies",
        f"≥ ${bill:.4f}",
        f"${cost + interrupted:.4f}",
        cost + interrupted >= bill - CENT,
    )
    kept = bill <= person.cap and person.most_spent_over_cap <= CENT
    yield f"the budget, raised {person.raised} times, is kept", f"${person.cap:.2f}", f"${cost + interrupted:.2f}", kept
    for text in (*strays, *(task.exception() for task in person.tasks if task.done() and task.exception())):
        yield "  ended by", "", str(text)[:200], False


def _booked(folder: Path) -> tuple[int, float, float]:
    """Usable replies, USD of all replies, and USD of lost ones."""
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as ledger:
        (usable,) = ledger.execute("SELECT COUNT(*) FROM calls WHERE usable = 1 AND answered IS NOT NULL").fetchone()
    with closing(Ledger(folder / "ledger.sqlite")) as books:
        return int(usable), books.totals().cost_usd, sum(books.interrupted_costs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)  # litellm's own lines about each failure
    database.GATHER_S = 0.0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder  # the record of opened prompts is the user's
        rows = clock.run(play(Path(folder)))
    return int(not show(rows) and args.check)


if __name__ == "__main__":
    sys.exit(main())
