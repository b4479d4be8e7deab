"""Requests keep their digests from version to version: ledgers, caches and open batch jobs of older runs stay valid."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from engine.protocol.rows import Message, Tool
from engine.service.cache import Cache
from engine.service.completion import Completion, Request
from engine.service.ledger import Ledger
from engine.service.output_parsing import SCORES_SCHEMA

CHAT: list[Message] = [{"role": "user", "content": "ü\N{LLAMA} hello"}]
TOOL: Tool = {"type": "function", "function": {"name": "track", "parameters": {"type": "object", "properties": {}}}}
MODEL = "openai/scripted"
ENDPOINT = "http://127.0.0.1:8000/v1"

PLAIN = Request(model=MODEL, messages=CHAT, max_tokens=50, temperature=0.0)
TOOLS = Request(
    model=MODEL, messages=CHAT, max_tokens=50, tools=[TOOL], repeat=3, extra={"top_p": 0.5, "max_tokens": 77}
)
SCHEMA = Request(model=MODEL, messages=CHAT, max_tokens=4096, temperature=0.0, schema=SCORES_SCHEMA, repeat=1)

WRITTEN = [
    (
        PLAIN,
        "27f972fd7e437d63ba77e2f87bbe832767861098358db2b6c6360c0b2e3a7d44",
        "c983eafa0666f2451d12db51ef5daf7ca4faa8b025a613251670d5e2876119b0",
        '{"model": "openai/scripted", "messages": [{"role": "user", "content": "\\u00fc\\ud83e\\udd99 hello"}], '
        '"params": {"max_tokens": 50, "temperature": 0.0}, "repeat": 0}',
    ),
    (
        TOOLS,
        "87ac7a1acdff17b6efdf52c82b4130103f819813238ea493c14dc9ba41b72096",
        "75f0f1257513a7838a01a6ae2338c4a509c69e2d956e6de93a6859771fda6eb7",
        '{"model": "openai/scripted", "messages": [{"role": "user", "content": "\\u00fc\\ud83e\\udd99 hello"}], '
        '"params": {"max_tokens": 77, "tools": [{"type": "function", "function": {"name": "track", "parameters": '
        '{"type": "object", "properties": {}}}}], "top_p": 0.5}, "repeat": 3}',
    ),
    (
        SCHEMA,
        "d2a11d2426a4ba44bb3c076e64aa28cce1286107e82e3de36956336a7f706ca7",
        "07497b45cf88fbec68127075d2e4ba58b8dc83baae59065b5f600a44d3394308",
        '{"model": "openai/scripted", "messages": [{"role": "user", "content": "\\u00fc\\ud83e\\udd99 hello"}], '
        '"params": {"max_tokens": 4096, "temperature": 0.0, "response_format": {"type": "json_schema", "json_schema": '
        '{"name": "reply", "schema": {"type": "object", "properties": {"similarity_assessment": {"type": "object", '
        '"properties": {"score": {"type": "integer"}, "reason": {"type": "string"}}, "required": ["score", "reason"], '
        '"additionalProperties": false}, "precision_assessment": {"type": "object", "properties": {"score": {"type": '
        '"integer"}, "reason": {"type": "string"}}, "required": ["score", "reason"], "additionalProperties": false}}, '
        '"required": ["similarity_assessment", "precision_assessment"], "additionalProperties": false}, '
        '"strict": true}}}, "repeat": 1}',
    ),
]
"""Requests with their keys in ledger and cache and their rows, as version 0.1.0 wrote them."""


@pytest.mark.parametrize(("request_", "key", "cache_key", "row"), WRITTEN)
def test_digests_and_rows_are_those_of_earlier_versions(request_: Request, key: str, cache_key: str, row: str) -> None:
    assert (request_.digest, request_.digest_at(ENDPOINT)) == (key, cache_key)
    assert request_.to_row() == json.loads(row)
    assert Request.from_row(json.loads(row)).digest == key
    assert Request.from_row(json.loads(row)).to_row() == request_.to_row()


async def test_a_ledger_of_an_earlier_version_answers(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
        database.executescript(
            "CREATE TABLE calls (key TEXT PRIMARY KEY, model TEXT NOT NULL, request TEXT NOT NULL, asked REAL NOT NULL,"
            " answered REAL, reply TEXT, finish_reason TEXT, prompt_tokens INTEGER NOT NULL DEFAULT 0,"
            " completion_tokens INTEGER NOT NULL DEFAULT 0, cost_usd REAL NOT NULL DEFAULT 0);"
            "CREATE TABLE flights (key TEXT NOT NULL, began REAL NOT NULL, cost_usd REAL NOT NULL,"
            " PRIMARY KEY (key, began)) WITHOUT ROWID;"
            "CREATE TABLE jobs (name TEXT PRIMARY KEY, model TEXT NOT NULL, began REAL NOT NULL, most REAL NOT NULL,"
            " provider_id TEXT);"
            "CREATE TABLE job_requests (key TEXT PRIMARY KEY, job TEXT NOT NULL, request TEXT NOT NULL);"
            "INSERT INTO jobs VALUES ('0123', 'openai/scripted', 1000.0, 0.25, 'batch-0');"
        )
        for _, key, _, row in WRITTEN:
            values = (key, MODEL, row, 1.0, 2.0, "hi", "stop", 10, 5, 2e-5)
            database.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            database.execute("INSERT INTO job_requests VALUES (?, '0123', ?)", (key, row))
        database.execute("INSERT INTO flights VALUES (?, 3.0, 0.5)", (WRITTEN[0][1],))

    ledger = Ledger(tmp_path / "ledger.sqlite")
    for request, *_ in WRITTEN:
        assert await ledger.completion(request) == Completion("hi", "stop", 10, 5, 2e-5, cached=True)
    assert ledger.interrupted_costs == [0.5]
    (job,) = ledger.jobs.open()
    assert (job.name, job.id, job.started, job.max_cost) == ("0123", "batch-0", 1000.0, 0.25)
    assert [request.digest for request in job.requests.values()] == list(job.requests)
    ledger.close()


async def test_a_cache_of_an_earlier_version_answers(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "replies.sqlite")
    with sqlite3.connect(tmp_path / "replies.sqlite") as database:
        for _, _, cache_key, _ in WRITTEN:
            database.execute("INSERT INTO replies VALUES (?, ?, 1.0, 'hi', 'stop')", (cache_key, MODEL))

    for request, *_ in WRITTEN:
        assert await cache.completion(request, ENDPOINT) == Completion("hi", "stop", 0, 0, 0.0, cached=True)
    cache.close()


def test_the_digest_depends_on_every_field_and_not_on_the_order_of_parameters() -> None:
    changes: list[dict[str, Any]] = [
        {"model": "n"},
        {"messages": []},
        {"max_tokens": 51},
        {"temperature": 0.1},
        {"tools": [TOOL]},
        {"schema": SCORES_SCHEMA},
        {"repeat": 1},
        {"extra": {"top_p": 0.5}},
    ]
    digests = {replace(PLAIN, **change).digest for change in changes}
    assert len(digests | {PLAIN.digest}) == len(changes) + 1

    one, other = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert replace(PLAIN, extra=one).digest == replace(PLAIN, extra=other).digest


def test_a_request_never_changes() -> None:
    with pytest.raises(AttributeError):
        PLAIN.model = "another"  # type: ignore[misc]


def test_the_users_limit_of_tokens_counts() -> None:
    assert (PLAIN.max_completion_tokens, TOOLS.max_completion_tokens) == (50, 77)
    assert TOOLS.max_cost((1.0, 10.0)) == TOOLS.prompt_bytes + 16 + 770
    assert TOOLS.max_cost(None) == 0.0


def test_tools_and_calls_are_counted() -> None:
    chat: list[Message] = [
        *CHAT,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "call00001", "type": "function", "function": {"name": "track", "arguments": '{"parcel": 7}'}}
            ],
        },
        {"role": "tool", "content": "in Graz", "tool_call_id": "call00001"},
    ]
    whole = replace(PLAIN, messages=chat, tools=[TOOL])
    assert whole.prompt_bytes >= PLAIN.prompt_bytes + len(json.dumps(TOOL)) + len('{"parcel": 7}') + len("in Graz")
