"""What is billed is booked, and nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

from behaviour import STAGE_NAMES, Behaviour, Played
from mocking.replies import after, during, each, enveloped, refused, right, right_text, said, times
from mocking.server import Ask, Reply, Respond

from behaviours.replies import CLAUDE, GEMINI

STATED_COST = 0.0123
"""USD that a reply says it costs."""

OVERLOADED_IN_200 = refused(200, {"error": {"code": "server_is_overloaded", "message": "Please try again later."}})

ROUTER = "openrouter/openai/gpt-4o"


def error_in_200(code: int, message: str) -> Respond:
    """OpenRouter's documented way to fail once it has begun."""
    return refused(200, {"error": {"code": code, "message": message}, "user_id": "u1"})


def usage(value: Any) -> Respond:
    """The right answer, whose count of tokens is this; None: it has none."""
    return lambda ask: enveloped(ask, usage=value)


def counted(ask: Ask) -> Reply:
    """The right answer, with thoughts."""
    return said(ask, right_text(ask.text), completion_tokens=520, thoughts=500)


ROWS = (
    *(
        Behaviour(
            name=f"{code} inside a 200, twice for each, within a small budget",
            respond=lambda code=code: each(2, error_in_200(code, "Provider returned error")),  # type: ignore[misc]
            model=ROUTER,
            settings={"budget_usd": 0.25},
        )
        for code in (429, 500, 502, 503)
    ),
    Behaviour(
        name="an error inside a 200, with a text for its code",
        respond=lambda: each(
            1, refused(200, {"error": {"code": "server_is_overloaded", "message": "Please try again later."}})
        ),
        settings={"budget_usd": 0.25},
    ),
    Behaviour(
        name="overloaded for ten minutes, inside a 200, with a text for its code",
        respond=lambda: during(600, OVERLOADED_IN_200),
        settings={"patience_s": 3600.0},
        seconds=(600, 700),
    ),
    Behaviour(
        name="an error inside a 200 that is a text",
        respond=lambda: each(1, refused(200, {"error": "upstream connect error or disconnect/reset before headers"})),
        settings={"budget_usd": 0.25},
    ),
    Behaviour(
        name="an error inside a 200, Anthropic's form",
        respond=lambda: each(
            1, refused(200, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
        ),
        model=CLAUDE,
    ),
    Behaviour(
        name="an error inside a 200, Gemini's form",
        respond=lambda: each(
            1, refused(200, {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}})
        ),
        model=GEMINI,
    ),
    Behaviour(
        name="OpenRouter states the cost",
        respond=lambda: _with_cost,
        model=ROUTER,
        booked="bound",
        check=lambda played: _costs(played, 4 * STATED_COST),
    ),
    Behaviour(name="usage is missing", respond=lambda: _without_usage, booked="estimate"),
    Behaviour(name="usage is null", respond=lambda: usage(None), booked="estimate"),
    Behaviour(name="usage is empty", respond=lambda: usage({}), booked="estimate"),
    Behaviour(name="usage has texts", respond=lambda: _in_texts),
    Behaviour(name="usage has a total alone", respond=lambda: usage({"total_tokens": 400}), booked="estimate"),
    Behaviour(
        name="usage is negative",
        respond=lambda: usage({"prompt_tokens": -3, "completion_tokens": -1, "total_tokens": -4}),
        booked="estimate",
    ),
    *(
        Behaviour(name=f"thoughts are counted: {model}", respond=lambda: counted, model=model)
        for model in ("openai/o3-mini", CLAUDE, GEMINI, ROUTER, "xai/grok-4")
    ),
    *(
        Behaviour(name=f"all is well: {model}, {stage}", respond=lambda: right, model=model, stage=stage, requests=8)
        for model in (
            "openai/gpt-4o",
            "azure/gpt-4o",
            CLAUDE,
            GEMINI,
            "ollama_chat/q",
            ROUTER,
            "xai/grok-4",
            "mistral/mistral-large-latest",
        )
        for stage in STAGE_NAMES
    ),
    Behaviour(
        name="the model that answers changes in mid-run: the ledger has both names",
        respond=lambda: times(
            6,
            lambda ask: said(ask, right_text(ask.text), model="judge-2026-01"),
            lambda ask: said(ask, right_text(ask.text), model="judge-2026-02"),
        ),
        count=12,
        check=lambda played: _answered_by(played, {"judge-2026-01", "judge-2026-02"}),
    ),
    Behaviour(
        name="a resume pays for nothing twice",
        respond=lambda: after(0, right),
        count=12,
        lives=2,
        requests=12,
    ),
    Behaviour(
        name="a new run pays for nothing twice", respond=lambda: right, count=12, lives=2, new_run=True, requests=12
    ),
)


def _with_cost(ask: Ask) -> Reply:
    reply = right(ask)
    assert isinstance(reply.body, dict)
    return replace(reply, body={**reply.body, "usage": {**reply.body["usage"], "cost": STATED_COST}})


def _costs(played: Played, usd: float) -> Iterator[str]:
    if abs(played.spent - usd) > 1e-9:
        yield f"${played.spent:.6f} are booked, not the ${usd:.6f} that the replies state"


def _in_texts(ask: Ask) -> Reply:
    reply = right(ask)
    names = ("prompt_tokens", "completion_tokens")
    return enveloped(ask, usage={name: str(tokens) for name, tokens in zip(names, reply.billed, strict=True)})


def _without_usage(ask: Ask) -> Reply:
    reply = right(ask)
    assert isinstance(reply.body, dict)
    return replace(reply, body={name: value for name, value in reply.body.items() if name != "usage"})


def _answered_by(played: Played, names: set[str]) -> Iterator[str]:
    assert played.ledger is not None
    with closing(sqlite3.connect(played.ledger)) as database:
        columns = {row[1] for row in database.execute("PRAGMA table_info(calls)")}
        if not {"answered_by", "fingerprint"} <= columns:
            yield "the ledger has no answered_by"
            return
        found = {(model, mark) for model, mark in database.execute("SELECT answered_by, fingerprint FROM calls")}
    if found != {(name, f"fp_{name}") for name in names}:
        yield f"the ledger says that {found} answered"
