"""Read what people export from services and gateways; `--check` exits 1 where a row is not read as it means.

    python bench/exports.py [--check] [--folder DIR] [--records N]

Exports: the files in DIR, each as its `expected.json` says. No leak: conversations that grow, slide and change their
system prompts, logged in any order: no row of dev or test has a relative in train. Fuzz: N records, valid ones with
random damage: a row is refused with a reason or has text on both sides, and nothing else ever happens.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from engine.dataset.formats import row as formats
from engine.dataset.load import load
from engine.dataset.record import RowError
from engine.protocol.rows import Message, message_text
from engine.settings.schema import Columns, Coverage

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.expected import FOLDER, cases, problems, torn_apart
from tests.exports import WRITERS, in_text


def nested(around: Callable[[Any], Any]) -> Any:
    """A value in 900 others."""
    value: Any = "x"
    for _ in range(900):
        value = around(value)
    return value


HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1e308, float("nan"), float("inf"), b"\xff", [], {}, [[]], [None], ["a", 1]),
    *("", " ", "null", "[]", "{}", "\0", "\ud800", "a" * 3000, "[" * 500, '{"a":' * 200, "<think>", "</think>"),
    *("assistant", "user", "tool", "system", "stop", "length", "[{'role': 'user', 'content': 'x'}]"),
    *({"role": "assistant"}, {"type": "text"}, {"type": "image_url"}, {"error": {}}, {"error": "x"}),
    *('{"role": "assistant", "content": null}', {"text": {"text": "x"}}),
    *(nested(lambda value: {"response": value}), nested(lambda value: [value]), nested(lambda value: {"0": value})),
)


# Leaks


Log = Callable[[list[Message], str, int, random.Random], dict[str, Any]]
"""How a request is logged: from the turns before its answer, the answer, its number, and chance."""


def leaks(dice: random.Random) -> dict[str, int]:
    """For each way to log conversations, how many of these lie in two splits."""
    return {name: _torn(list(_logged(log, dice)), dice) for name, log in LOGS.items()}


def _logged(log: Log, dice: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    """The requests of 40 conversations, each with the name of its own."""
    for conversation in range(40):
        turns: list[Message] = []
        for request in range(dice.randrange(3, 8)):
            turns.append(Message(role="user", content=_words(dice, 12)))
            answer = _words(dice, 8)
            yield f"{conversation}", log(turns, answer, request, dice)
            turns.append(Message(role="assistant", content=answer))


def _torn(rows: list[tuple[str, dict[str, Any]]], dice: random.Random) -> int:
    dice.shuffle(rows)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "log.jsonl"
        file.write_text("".join(json.dumps(record) + "\n" for _, record in rows), encoding="utf-8")
        pairs = load(Coverage(source=str(file))).pairs
    return torn_apart(pairs, [rows[int(pair.source.rpartition(":")[2]) - 1][0] for pair in pairs])


def _words(dice: random.Random, count: int) -> str:
    return " ".join(f"{dice.choice('bdfglmnprst')}{dice.choice('aeiou')}{dice.randrange(1000)}" for _ in range(count))


def _request(messages: list[Message], answer: str) -> dict[str, Any]:
    return {"request": {"messages": list(messages)}, "response": {"choices": [{"message": {"content": answer}}]}}


def _growing(turns: list[Message], answer: str, _: int, __: random.Random) -> dict[str, Any]:
    return _request(turns, answer)


def _clock(turns: list[Message], answer: str, _: int, dice: random.Random) -> dict[str, Any]:
    system = Message(role="system", content=f"You help. It is {dice.random()}. Known: {_words(dice, 30)}")
    return _request([system, *turns], answer)


def _window(turns: list[Message], answer: str, _: int, dice: random.Random) -> dict[str, Any]:
    return _request(turns[-dice.randrange(2, 5) :], answer)


def _thoughts(turns: list[Message], answer: str, _: int, dice: random.Random) -> dict[str, Any]:
    return _clock(turns, f"<think>{_words(dice, 9)}</think>{answer}", 0, dice)


def _ids(turns: list[Message], answer: str, request: int, dice: random.Random) -> dict[str, Any]:
    """Only the last question is sent, and an id."""
    return {**_request(turns[-1:], answer), "session_id": turns[0]["content"], "n": request + dice.random()}


LOGS: dict[str, Log] = {
    "growing": _growing,
    "changing system prompt": _clock,
    "sliding window": _window,
    "thoughts stripped": _thoughts,
    "ids alone": _ids,
}


# Fuzz


def fuzz(records: int, dice: random.Random) -> tuple[Counter[str], float]:
    """Read damaged records; returns how often each outcome came, and the seconds that reading took."""
    outcomes: Counter[str] = Counter()
    seconds = 0.0
    writers = list(WRITERS.values())
    for _ in range(records):
        record: Any = dice.choice(writers)(_chat(dice))
        for _ in range(dice.randrange(4)):
            record = damaged(record, dice)
        if isinstance(record, dict) and dice.random() < 0.2:
            record = _texts(record)
        began = time.perf_counter()
        outcome = _outcome(record)
        seconds += time.perf_counter() - began
        outcomes[outcome] += 1
    return outcomes, seconds


def _outcome(record: Any) -> str:
    try:
        recorded = formats.read(record, Columns())
    except RowError:
        return "refused"
    except Exception as error:  # noqa: BLE001 - this is what must not happen
        return f"TRACEBACK {type(error).__name__}: {str(error)[:80]}"
    prompt = any(message_text(message).strip() for message in recorded.messages[:-1])
    answer = message_text(recorded.messages[-1]).strip()
    return "read" if prompt and answer and recorded.answers else "ACCEPTED WITHOUT TEXT"


def _chat(dice: random.Random) -> list[Message]:
    turns = [Message(role="system", content="Answer.")] if dice.random() < 0.5 else []
    for number in range(dice.randrange(1, 3)):
        turns.append(Message(role="user", content=f"Where is parcel {dice.random()}?"))
        turns.append(Message(role="assistant", content=f"shipping {number}"))
    return turns


def _texts(record: dict[str, Any]) -> Any:
    try:
        return in_text(record)
    except (TypeError, ValueError, RecursionError):
        return record


def damaged(value: Any, dice: random.Random) -> Any:
    """A copy of a record with one random value replaced, lost, wrapped or put elsewhere."""
    if not isinstance(value, dict | list) or not value or dice.random() < 0.12:
        return dice.choice((dice.choice(HOSTILE), [value], {"content": value}, str(value)))
    if isinstance(value, list):
        copy = list(value)
        place = dice.randrange(len(copy))
        copy[place] = damaged(copy[place], dice)
        return copy if dice.random() < 0.95 else [*copy, copy[place]]
    key = dice.choice(list(value))
    if dice.random() < 0.08:
        return {name: inner for name, inner in value.items() if name != key}
    if dice.random() < 0.05:
        return {**value, dice.choice(list(value)): value[key]}
    return {**value, key: damaged(value[key], dice)}


# Result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a bar is missed")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--records", type=int, default=1_000_000)
    args = parser.parse_args()
    missed: list[str] = []
    table = Table(Column("what"), Column("bar", justify="right"), Column("measured", justify="right"))
    if expected := cases(args.folder):
        found = {case["file"]: list(problems(args.folder, case)) for case in expected}
        missed += [f"{name}: {problem}" for name, wrong in found.items() for problem in wrong]
        right = sum(not wrong for wrong in found.values())
        table.add_row("exports read as they mean", str(len(found)), str(right))
    else:
        missed.append(f"{args.folder}: no expected.json; name its folder with --folder")
    torn = leaks(random.Random(1))
    missed += [f"leak: {name}: {count} conversations lie in two splits" for name, count in torn.items() if count]
    table.add_row("conversations in two splits", "0", str(sum(torn.values())))
    outcomes, seconds = fuzz(args.records, random.Random(1))
    bad = {outcome: count for outcome, count in outcomes.items() if outcome not in ("read", "refused")}
    missed += [f"fuzz: {outcome} ({count})" for outcome, count in bad.items()]
    table.add_row("hostile records without a reason", "0", str(sum(bad.values())))
    table.add_row("hostile records read, refused", "", f"{outcomes['read']:,}, {outcomes['refused']:,}")
    table.add_row("microseconds a record", "", f"{seconds / max(1, args.records) * 1e6:.0f}")
    console = Console()
    console.print(table)
    for problem in missed:
        console.print(f"missed: {problem}", markup=False)
    return int(args.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
