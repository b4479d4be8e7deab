"""Replies that are none: empty, cut, filtered, declined. They are paid, asked again, then left out and told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from behaviour import STAGE_NAMES, Behaviour, Played
from mocking.replies import cut, each, enveloped, lives, on, raw, right, right_text, said, unless
from mocking.server import Ask, Reply, Respond

ODD = "answer 3 worth"
"""The response of one prompt."""

ALONE: dict[str, Any] = {"count": 12, "left_out": 1}


def empty(ask: Ask) -> Reply:
    return said(ask, "")


def blank(ask: Ask) -> Reply:
    return said(ask, " \n")


def filtered(ask: Ask) -> Reply:
    return said(ask, right_text(ask.text)[:30], finish="content_filter")


def declined(ask: Ask) -> Reply:
    return said(ask, None, refusal="I'm sorry, I can't assist with that.", completion_tokens=9)


def half(ask: Ask) -> Reply:
    """Cut in the middle of the answer."""
    text = right_text(ask.text)
    return said(ask, text[: len(text) // 2], finish="length", completion_tokens=ask.max_tokens or 4096)


def thinks_too_long(tokens: int) -> Respond:
    """A model that needs so many tokens."""
    return unless(lambda ask: (ask.max_tokens or 0) < tokens, cut)


def blocked(feedback: dict[str, Any]) -> Respond:
    """Gemini's filter on the prompt: no candidate, and the prompt is billed."""

    def respond(ask: Ask) -> Reply:
        usage = {"promptTokenCount": ask.prompt_tokens, "totalTokenCount": ask.prompt_tokens}
        body = {"promptFeedback": feedback, "usageMetadata": usage, "modelVersion": "gemini-2.5-pro"}
        return Reply(body=body, billed=(ask.prompt_tokens, 0))

    return respond


def ended(finish: str) -> Respond:
    """No text, and this reason."""
    return lambda ask: said(ask, None, finish=finish, completion_tokens=1)


def stopped_early(requests: int) -> Any:
    """At most so many requests, and a warning before the end."""

    def check(played: Played) -> Iterator[str]:
        if not played.warnings:
            yield "no warning"
        if len(played.mock.asked) > requests:
            yield f"{len(played.mock.asked)} requests before it stopped, not {requests}"

    return check


GEMINI, CLAUDE = "gemini/gemini-2.5-pro", "anthropic/claude-sonnet-4-5"
REASONER = "openai/reasoner"

ROWS = (
    Behaviour(name="empty for one prompt, always", respond=lambda: on(ODD, empty), **ALONE, requests=18),
    Behaviour(name="blank for one prompt, always", respond=lambda: on(ODD, blank), **ALONE, requests=18),
    Behaviour(name="empty at the first try of each", respond=lambda: each(1, empty), requests=8),
    Behaviour(name="Gemini stops without content", respond=lambda: each(1, ended("stop")), model=GEMINI, requests=8),
    Behaviour(name="Claude sends no content", respond=lambda: each(1, empty), model=CLAUDE, requests=8),
    Behaviour(name="Ollama is loading the model", respond=lambda: each(1, ended("load")), model="ollama_chat/q"),
    Behaviour(name="OpenRouter warms up", respond=lambda: each(2, empty), model="openrouter/openai/gpt-4o"),
    Behaviour(
        name="all empty: told at the first, stopped after about ten",
        respond=lambda: empty,
        count=60,
        ends="empty",
        booked="bound",
        check=stopped_early(120),
    ),
    Behaviour(
        name="all prose: told at the first, stopped after about ten",
        respond=lambda: lambda ask: said(ask, "I like both of them."),
        count=60,
        ends="no score",
        booked="bound",
        check=stopped_early(120),
    ),
    Behaviour(
        name="thinking eats the tokens: more the next time",
        respond=lambda: thinks_too_long(8192),
        model=REASONER,
        requests=12,
    ),
    Behaviour(
        name="thinking eats four times the tokens",
        respond=lambda: thinks_too_long(16384),
        model=REASONER,
        requests=16,
    ),
    Behaviour(
        name="thinking eats whatever there is",
        respond=lambda: cut,
        model=REASONER,
        count=60,
        ends="thoughts",
        hint=("max_tokens",),
        booked="bound",
        check=stopped_early(120),
    ),
    Behaviour(name="Gemini thinks past its tokens", respond=lambda: each(1, cut), model=GEMINI, requests=8),
    Behaviour(name="Claude is cut off", respond=lambda: each(1, half), model=CLAUDE, requests=8),
    Behaviour(name="Ollama is cut off", respond=lambda: each(1, half), model="ollama_chat/q", requests=8),
    *(
        Behaviour(name=f"a verdict is filtered, {model}", respond=lambda: on(ODD, filtered), model=model, **ALONE)
        for model in ("openai/gpt-4o", "azure/gpt-4o", GEMINI)
    ),
    Behaviour(name="a verdict is declined", respond=lambda: on(ODD, declined), **ALONE, requests=18),
    Behaviour(name="Claude declines", respond=lambda: on(ODD, ended("content_filter")), model=CLAUDE, **ALONE),
    Behaviour(name="Gemini: SAFETY", respond=lambda: on(ODD, ended("SAFETY")), model=GEMINI, **ALONE),
    Behaviour(name="Gemini: RECITATION", respond=lambda: on(ODD, ended("RECITATION")), model=GEMINI, **ALONE),
    Behaviour(
        name="Gemini blocks a prompt",
        respond=lambda: on(ODD, blocked({"blockReason": "PROHIBITED_CONTENT"})),
        model=GEMINI,
        **ALONE,
    ),
    # The ceiling of what a local model can reach
    Behaviour(name="teacher: empty once", respond=lambda: each(1, on("question", empty)), stage="teacher"),
    Behaviour(
        name="teacher: empty for one question",
        respond=lambda: _asked("question 3", empty),
        stage="teacher",
        **ALONE,
    ),
    Behaviour(
        name="teacher: thinking eats the tokens",
        respond=lambda: _asked("question", thinks_too_long(8192)),
        model=REASONER,
        stage="teacher",
    ),
    Behaviour(name="teacher: cut off", respond=lambda: _asked("question", each(1, half)), stage="teacher"),
    Behaviour(name="teacher: filtered", respond=lambda: _asked("question 3", filtered), stage="teacher", **ALONE),
    Behaviour(name="teacher: declined", respond=lambda: _asked("question 3", declined), stage="teacher", **ALONE),
    Behaviour(
        name="teacher: all empty",
        respond=lambda: empty,
        stage="teacher",
        count=60,
        ends="empty",
        booked="bound",
        check=stopped_early(120),
    ),
    Behaviour(
        name="teacher: thoughts before the answer",
        respond=lambda: lambda ask: said(ask, f"Hm, a bird.\n</think>\n\n{right_text(ask.text)}"),
        stage="teacher",
    ),
    # Asked again by the next worker, and by the next run
    *(
        Behaviour(
            name=f"{name}, then well: {'a new run' if new_run else 'a resume'} asks again ({stage})",
            respond=lambda bad=bad: lives(bad, right),  # type: ignore[misc]
            stage=stage,
            lives=2,
            new_run=new_run,
            ended=" ",
        )
        for name, bad in (("empty", empty), ("filtered", filtered), ("cut", cut))
        for stage in STAGE_NAMES
        for new_run in (False, True)
    ),
    Behaviour(
        name="one was empty, then well: a new run asks for it alone",
        respond=lambda: lives(on(ODD, empty), right),
        count=12,
        lives=2,
        new_run=True,
        requests=18,
    ),
    # Errors in a whole reply
    Behaviour(
        name="OpenRouter: an upstream error in the choice",
        respond=lambda: each(1, lambda ask: _without_bill(_failed_choice(ask))),
        model="openrouter/openai/gpt-4o",
        requests=8,
    ),
    *(
        Behaviour(
            name=f"a body of {body!r} at the first try: {model}",
            respond=lambda body=body: each(1, raw(body)),  # type: ignore[misc]
            model=model,
            requests=8,
            booked="at least",
        )
        for body, model in (
            ("", "openai/gpt-4o"),
            ("null", "openai/gpt-4o"),
            ("[]", "openai/gpt-4o"),
            ({}, "openai/gpt-4o"),
            ('"x"', "openai/gpt-4o"),
            ("<html>sign in</html>", "openai/gpt-4o"),
            ({}, CLAUDE),
            ("<html>sign in</html>", CLAUDE),
            ({}, GEMINI),
            ("<html>sign in</html>", GEMINI),
        )
    ),
    Behaviour(name="no choices once", respond=lambda: each(1, _without_choices([])), booked="at least", requests=8),
    Behaviour(name="null choices once", respond=lambda: each(1, _without_choices(None)), booked="at least", requests=8),
)


def _asked(word: str, reply: Respond) -> Respond:
    """`reply` to the question itself, not to those who judge its answers."""
    return lambda ask: (reply if word in ask.text and "precision_assessment" not in ask.text else right)(ask)


def _without_choices(choices: Any) -> Respond:
    return lambda ask: enveloped(ask, choices=choices)


def _failed_choice(ask: Ask) -> Reply:
    message = {"role": "assistant", "content": "", "refusal": None}
    failed = {"code": 502, "message": "Upstream error from Azure", "metadata": {"provider_name": "Azure"}}
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": "error",
        "native_finish_reason": "error",
        "error": failed,
    }
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return enveloped(ask, choices=[choice], usage=usage)


def _without_bill(reply: Reply) -> Reply:
    return Reply(body=reply.body)
