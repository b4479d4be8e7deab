"""Chat completions of servers, as they come, and what the stage keeps of them."""

from __future__ import annotations

from typing import Any

import pytest

from engine.local.inference.base import Prompt, Sample
from engine.local.inference.encoded import Encoded
from engine.local.inference.replies import completion_of
from engine.protocol.errors import StageError
from engine.protocol.rows import Chat, Message
from tests.tiny import TOOLS, make_tokenizer

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
ASKED: list[Message] = [{"role": "user", "content": "where?"}]
SAMPLE = Sample(Prompt(id="a", messages=ASKED, tools=[TOOL]), 0)


@pytest.fixture(scope="module")
def encoded() -> Encoded:
    return Encoded(make_tokenizer(TOOLS))


def reply(message: dict[str, Any], reason: Any = "stop", **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    return {"choices": [{"message": message, "finish_reason": reason, **more}], "usage": usage}


@pytest.mark.parametrize(
    ("reason", "kept"), [("stop", "stop"), ("tool_calls", "stop"), ("length", "length"), ("max_tokens", "length")]
)
def test_reasons_have_one_name(reason: str, kept: str, encoded: Encoded) -> None:
    done = completion_of(encoded, SAMPLE, reply({"content": "hi"}, reason))
    assert (done.text, done.finish_reason, done.prompt_tokens, done.completion_tokens) == ("hi", kept, 7, 3)
    assert (done.mean_logprob, done.least_logprob) == (None, None)


def test_log_probabilities_are_summed_up(encoded: Encoded) -> None:
    content = [{"token": "a", "logprob": -0.25}, {"token": "b", "logprob": -0.75}]
    done = completion_of(encoded, SAMPLE, reply({"content": "hi"}, logprobs={"content": content}))
    assert (done.mean_logprob, done.least_logprob) == (-0.5, -0.75)


def test_calls_take_the_form_of_the_template_again(encoded: Encoded) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "Oslo"}'}}
    done = completion_of(encoded, SAMPLE, reply({"content": None, "tool_calls": [call]}, "tool_calls"))
    answer: Message = {"role": "assistant", "content": "", "tool_calls": [call]}  # type: ignore[list-item]
    assert done.text == encoded.reference(Chat([*ASKED, answer], [TOOL])) and "<tool_call>" in done.text


def test_a_call_that_no_template_takes_stays_readable(encoded: Encoded) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{at Oslo"}}
    assert "{at Oslo" in completion_of(encoded, SAMPLE, reply({"content": "", "tool_calls": [call]})).text


def test_a_server_that_counts_nothing_is_counted_for(encoded: Encoded) -> None:
    done = completion_of(encoded, SAMPLE, {"choices": reply({"content": "hi"})["choices"]})
    assert done.prompt_tokens == len(encoded.tokens(SAMPLE.prompt)) and done.completion_tokens == 2


CHOICE = reply({"content": "x"})["choices"][0]


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"choices": []},
        {"choices": [{}]},
        {"choices": [CHOICE, CHOICE]},
        {"choices": {"a": CHOICE}},
        {"choices": [None]},
        {"choices": "x"},
        reply({"content": "x"}, None),
        reply({"content": "x"}, "filter"),
        reply({"content": "x"}, ["stop"]),
        reply({"content": "x"}, {}),
        reply({"content": 3}),
        reply({"content": [[]]}),
        reply({"content": {"text": "x"}}),
        reply("x"),  # type: ignore[arg-type]
        reply({"content": "x", "tool_calls": [3]}),
        reply({"content": "x", "tool_calls": {"function": {}}}),
        reply({"tool_calls": [{"function": {"name": None, "arguments": "{}"}}]}),
        reply({"tool_calls": [{"function": {"name": "look", "arguments": 3}}]}),
    ],
)
def test_what_is_no_completion_is_refused(broken: dict[str, Any], encoded: Encoded) -> None:
    with pytest.raises(StageError):
        completion_of(encoded, SAMPLE, broken)


@pytest.mark.parametrize(
    "logprobs",
    [
        [],
        "x",
        {"content": "x"},
        {"content": [3]},
        {"content": [{"logprob": None}]},
        {"content": [{"logprob": "-1"}]},
        {"content": [{"logprob": -1.0}, {"logprob": float("nan")}]},
        {"content": [{"logprob": float("-inf")}]},
        {"content": [{"logprob": -(10**400)}]},
    ],
)
@pytest.mark.parametrize("usage", [None, [], {"prompt_tokens": True}, {"prompt_tokens": -3}, {"prompt_tokens": 10**30}])
def test_figures_that_cannot_be_used_are_unknown(logprobs: Any, usage: Any, encoded: Encoded) -> None:
    done = completion_of(encoded, SAMPLE, {**reply({"content": "hi"}, logprobs=logprobs), "usage": usage})
    assert (done.mean_logprob, done.least_logprob) == (None, None)
    assert done.prompt_tokens == len(encoded.tokens(SAMPLE.prompt)) and done.completion_tokens == 2


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "h"}, {"type": "text", "text": "i"}, {"type": "image"}], "hi"),
        (["h", "i"], "hi"),
        ("h\ud800i", "h?i"),
    ],
)
def test_a_text_comes_whole_or_in_parts(content: Any, text: str, encoded: Encoded) -> None:
    assert completion_of(encoded, SAMPLE, reply({"content": content})).text == text


@pytest.mark.parametrize("arguments", [{"at": "Oslo"}, {}, None])
def test_arguments_may_be_objects(arguments: Any, encoded: Encoded) -> None:
    call = {"function": {"name": "look", "arguments": arguments}}
    text = completion_of(encoded, SAMPLE, reply({"tool_calls": [call]}, "tool_calls")).text
    assert "<tool_call>" in text and ("Oslo" in text) == bool(arguments)
