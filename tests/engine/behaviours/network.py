"""Trouble on the way to a provider: what passes is waited for, what cannot pass ends a run at once, and all is named."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from behaviour import Behaviour, Played
from mocking.replies import during, each, lost, openai_error, page, raw, refused, right, times

from behaviours.accounts import GPT
from behaviours.replies import CLAUDE, GEMINI

CLOSED = "http://127.0.0.1:1/v1"
"""Where nobody listens."""

PATIENT = {"patience_s": 3600.0}
UNAVAILABLE = openai_error(503, "The engine is currently overloaded, please try again later", kind="server_error")
LOADING = refused(503, {"error": "Model org/m is currently loading", "estimated_time": 300.0})
CLOUDFLARE = (520, 521, 522, 523, 524, 525, 529, 530)


def free(played: Played) -> Iterator[str]:
    if played.spent:
        yield f"${played.spent:.4f} are booked, and nothing was sent"


def plain(played: Played) -> Iterator[str]:
    if "<" in played.error or "Traceback" in played.error or "margin" in played.error:
        yield f"shows a page or a traceback: {played.error!r}"


ROWS = (
    *(
        Behaviour(
            name=f"a blip of 22 s at the first call: {model}",
            respond=lambda: during(22, UNAVAILABLE),
            model=model,
            settings=PATIENT,
            seconds=(22, 60),
        )
        for model in (GPT, CLAUDE, GEMINI, "openrouter/openai/gpt-4o")
    ),
    Behaviour(
        name="ten minutes without service",
        respond=lambda: during(600, UNAVAILABLE),
        settings=PATIENT,
        seconds=(600, 1300),
    ),
    Behaviour(name="scaled to zero: loads for ten minutes", respond=lambda: during(600, LOADING), settings=PATIENT),
    Behaviour(
        name="a sign-in page for a minute",
        respond=lambda: during(60, raw("<html><title>Sign in</title></html>")),
        settings=PATIENT,
        booked="bound",
    ),
    Behaviour(
        name="unavailable for ever",
        respond=lambda: UNAVAILABLE,
        settings={"patience_s": 600.0},
        ends="overloaded",
        seconds=(500, 700),
    ),
    Behaviour(
        name="a gateway's page for ever",
        respond=lambda: page(502, "502 Bad Gateway"),
        settings={"patience_s": 600.0},
        ends="Bad Gateway",
        seconds=(500, 700),
        check=plain,
    ),
    *(
        Behaviour(
            name=f"Cloudflare's page of {status}, twice",
            respond=lambda status=status: each(2, page(status, f"error {status}")),  # type: ignore[misc]
        )
        for status in CLOUDFLARE
    ),
    *(
        Behaviour(
            name=f"nobody listens: {model}",
            respond=lambda: right,
            model=model,
            address=CLOSED,
            settings={"patience_s": 600.0},
            ends="refused",
            hint=("api_base",),
            requests=0,
            seconds=(500, 700),
            check=free,
        )
        for model in (GPT, CLAUDE, GEMINI)
    ),
    *(
        Behaviour(
            name=f"a name that nobody knows: {model}",
            respond=lambda: right,
            model=model,
            address="http://judge.invalid/v1",
            settings=PATIENT,
            ends="Name or service not known",
            hint=("api_base",),
            requests=0,
            seconds=(0, 30),
            check=free,
        )
        for model in (GPT, CLAUDE, GEMINI)
    ),
    Behaviour(
        name="names cannot be resolved for now",
        respond=lambda: right,
        address="http://judge.invalid/v1",
        unknown_names=socket.EAI_AGAIN,
        settings={"patience_s": 600.0},
        ends="Temporary failure in name resolution",
        hint=("network",),
        requests=0,
        seconds=(500, 700),
        check=free,
    ),
    *(
        Behaviour(
            name=f"https where http is spoken: {model}",
            respond=lambda: right,
            model=model,
            address="{https}/v1",
            settings=PATIENT,
            ends="TLS",
            hint=("api_base",),
            requests=0,
            seconds=(0, 30),
            check=free,
        )
        for model in (GPT, CLAUDE, GEMINI)
    ),
    Behaviour(
        name="a proxy that opens no tunnel",
        respond=lambda: right,
        address="https://judge.invalid/v1",
        environment={"HTTPS_PROXY": "{base}", "https_proxy": "{base}"},
        settings={"patience_s": 600.0},
        ends="502",
        requests=0,
        seconds=(0, 700),
        check=free,
    ),
    *(
        Behaviour(
            name=f"{name} at the first try of each: {model}",
            respond=lambda how=how: each(1, lost(how)),  # type: ignore[misc]
            model=model,
            settings=PATIENT,
            booked="at least",
            requests=8,
        )
        for name, how in (("cut in the middle", "cut"), ("no reply", "hang"), ("a reply that drips", "drip"))
        for model in (GPT, CLAUDE, GEMINI, "openrouter/openai/gpt-4o")
    ),
    Behaviour(
        name="closed before the reply, unpaid or not",
        respond=lambda: each(1, lost("closed")),
        booked="at least",
        requests=8,
    ),
    Behaviour(
        name="connections are closed for ever",
        respond=lambda: lost("closed", paid=False),
        settings={"patience_s": 60.0},
        ends=" ",
        hint=("network",),
        seconds=(30, 120),
        booked="bound",
        check=plain,
    ),
    Behaviour(
        name="the network is away for a quarter of an hour in mid-run",
        respond=lambda: times(10, right, during(900, lost("closed", paid=False))),
        settings=PATIENT,
        count=20,
        booked="bound",
        seconds=(900, 1600),
    ),
)
