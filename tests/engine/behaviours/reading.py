"""Replies that mean something, in the forms in which models write it; and those that mean nothing for sure."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from behaviour import Behaviour
from mocking.replies import WORTH, each, pairs, right_text, said, verdict
from mocking.server import Ask, Reply, Respond

DRAFT = verdict(7, 7)


def scored(write: Callable[[int, int], str]) -> Respond:
    """A verdict written in another way, by its two scores."""

    def respond(ask: Ask) -> Reply:
        found = WORTH.search(ask.text)
        assert found
        return said(ask, write(int(found[2]), 101 - int(found[2])))

    return respond


def wrapped(before: str, after: str = "") -> Respond:
    return lambda ask: said(ask, f"{before}{right_text(ask.text)}{after}")


def as_score(write: Callable[[int], Any]) -> Respond:
    """The score itself written in another way."""
    return scored(lambda similarity, precision: verdict(write(similarity), write(precision)))


FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")


def single_quoted(similarity: int, precision: int) -> str:
    return str(json.loads(verdict(similarity, precision)))


READ: dict[str, Respond] = {
    "thoughts that only end": wrapped(f"First {DRAFT}, no.\n</think>\n"),
    "thoughts in <think>": wrapped(f"<think>{DRAFT}</think>"),
    "thoughts in <thinking>": wrapped(f"<thinking>{DRAFT}</thinking>\n"),
    "thoughts in <thought>": wrapped(f"<thought>{DRAFT}</thought>\n"),
    "thoughts in <reasoning>": wrapped(f"<reasoning>{DRAFT}</reasoning>\n"),
    "channels of gpt-oss": wrapped(
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>", "<|return|>"
    ),
    "a code fence": wrapped("```json\n", "\n```"),
    "prose around": wrapped("Here is my verdict:\n\n", "\n\nI hope this helps!"),
    "a byte order mark": wrapped("\ufeff"),
    "a trailing comma": scored(lambda s, p: verdict(s, p)[:-1] + ",}"),
    "single quotes": scored(single_quoted),
    "keys in capitals": scored(lambda s, p: verdict(s, p).replace("similarity", "SIMILARITY").replace("prec", "Prec")),
    "flat": scored(lambda s, p: json.dumps({"similarity": s, "precision": p})),
    "nested": scored(lambda s, p: json.dumps({"result": {"scores": json.loads(verdict(s, p))}})),
    "twice the same": scored(lambda s, p: f"{verdict(s, p)}\n{verdict(s, p)}"),
    "a missing brace": scored(lambda s, p: verdict(s, p)[:-1]),
    "an extra brace": scored(lambda s, p: verdict(s, p) + "}"),
    "'85/100'": as_score(lambda score: f"{score}/100"),
    "'85%'": as_score(lambda score: f"{score}%"),
    "85.0": as_score(float),
    "full-width digits": as_score(lambda score: str(score).translate(FULL_WIDTH)),
    "'85 (good)'": as_score(lambda score: f"{score} (good)"),
    "'85分'": as_score(lambda score: f"{score}分"),
    "[85]": as_score(lambda score: [score]),
    "{'value': 85}": as_score(lambda score: {"value": score}),
    "a maximum beside the score": scored(
        lambda s, p: json.dumps(
            {
                "similarity_assessment": {"score": s, "max_score": 100, "reason": "x"},
                "precision_assessment": {"score": p, "max_score": 100, "reason": "y"},
            }
        )
    ),
    "a list of criteria": scored(
        lambda s, p: json.dumps([{"criterion": "similarity", "score": s}, {"criterion": "precision", "score": p}])
    ),
    "0 for the worst": as_score(lambda score: 0 if score == 1 else score),
}
"""Written so, a verdict is understood at once."""

UNREADABLE: dict[str, str] = {
    "101": verdict(101, 50),
    "-5": verdict(-5, 50),
    "null": verdict(None, 50),
    "true": verdict(True, 50),
    "NaN": verdict(float("nan"), 50),
    "two different verdicts": f"{verdict(30, 40)} or {verdict(60, 70)}",
    "German keys": '{"aehnlichkeit": 50, "genauigkeit": 60}',
    "YAML": "similarity_assessment:\n  score: 50\nprecision_assessment:\n  score: 60",
    "XML": "<similarity>50</similarity><precision>60</precision>",
    "prose": "I would say fifty for the first and sixty for the second.",
    "a draft that never ends": f"<think>{verdict(50, 60)}",
    "our own form": '{"similarity_assessment": {"score": <1-100>, "reason": "<why>"}}',
}
"""Never guessed: asked again."""


def contents(write: Callable[[list[dict[str, str]]], Any]) -> Respond:
    """New pairs, written in another way."""
    return lambda ask: said(ask, json.dumps(write(json.loads(pairs(ask.text))["contents"])))


PAIRS: dict[str, Respond] = {
    "a bare list": contents(lambda found: found),
    "behind another key": contents(lambda found: {"topic": "birds", "count": 2, "pairs": found}),
    "keys in capitals": contents(lambda found: [{name.capitalize(): text for name, text in p.items()} for p in found]),
    "prompt and completion": contents(
        lambda found: {"contents": [{"prompt": p["instruction"], "completion": p["response"]} for p in found]}
    ),
    "a response in lines, once": each(
        1,
        contents(lambda found: {"contents": [{**p, "response": [p["response"], "second line"]} for p in found]}),
    ),
    "thoughts that only end": wrapped(
        json.dumps({"contents": [{"instruction": "a draft of a prompt about owls", "response": "DRAFT"}]})
        + "\n</think>\n"
    ),
    "a fence and prose": wrapped("Sure!\n```json\n", "\n```\nDone."),
    "our own form, once": each(
        1, lambda ask: said(ask, json.dumps({"contents": [{"instruction": "<text>", "response": "<text>"}]}))
    ),
    "prose, once": each(1, lambda ask: said(ask, "I cannot think of any.")),
}

ROWS = (
    *(Behaviour(name=f"a verdict with {name}", respond=lambda r=r: r, requests=4) for name, r in READ.items()),  # type: ignore[misc]
    *(
        Behaviour(
            name=f"a verdict of {name}, once",
            respond=lambda text=text: each(1, lambda ask: said(ask, text)),  # type: ignore[misc]
            requests=8,
        )
        for name, text in UNREADABLE.items()
    ),
    *(Behaviour(name=f"pairs: {name}", respond=lambda r=r: r, stage="synthesize") for name, r in PAIRS.items()),  # type: ignore[misc]
)
