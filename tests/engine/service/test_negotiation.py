"""Parameters that a model refuses, in the words of real providers."""

from typing import Any

import pytest

from engine.service.completion import Request
from engine.service.faults import Fault, Kind
from engine.service.negotiation import Terms

SCHEMA = {"type": "object", "properties": {}}


def request(max_tokens: int = 4096, **changes: Any) -> Request:
    values: dict[str, Any] = {"temperature": 0.0, "schema": SCHEMA, **changes}
    return Request(model="m", messages=[{"role": "user", "content": "x" * 1800}], max_tokens=max_tokens, **values)


def refusal(text: str, param: str = "", status: int = 400, kind: Kind = Kind.UNCLEAR) -> Fault:
    return Fault(kind=kind, status=status, message=text, text=text, param=param)


@pytest.mark.parametrize(
    ("text", "param", "gone"),
    [
        (
            "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) value is",
            "",
            {"temperature"},
        ),
        ("`temperature` is deprecated for this model.", "", {"temperature"}),
        ("temperature: Extra inputs are not permitted", "", {"temperature"}),
        ("no", "temperature", set()),
        (
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
            "",
            {"response_format"},
        ),
        ("output_config.format: Extra inputs are not permitted", "", {"response_format"}),
        ("Unknown name \"response_json_schema\" at 'generation_config'", "", {"response_format"}),
        ("guided_json is not supported by this engine", "", {"response_format"}),
        ("Unknown name \"responseSchema\" at 'generation_config'", "", {"response_format"}),
        ("body.response_format: extra fields not permitted", "response_format", {"response_format"}),
        ("Unrecognized request argument supplied: top_p", "", {"top_p"}),
        ("The prompt talks of temperature and is flagged", "", set()),
        ("messages: at least one message is required", "", set()),
        ("Tool use is not supported: tools", "tools", set()),
    ],
)
def test_what_is_refused_by_name_is_left_out_and_told_once(text: str, param: str, gone: set[str]) -> None:
    terms, asked = Terms(), request(extra={"top_p": 0.9}, tools=[])
    lesson = terms.learn(refusal(text, param), asked)

    assert set(asked.params) - set(terms.params(asked)) == gone
    assert (lesson is not None) == bool(gone)
    assert terms.learn(refusal(text, param), asked) is None


def test_max_tokens_is_renamed_and_then_left_out() -> None:
    terms, asked = Terms(), request()
    said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    first = terms.learn(refusal(said, "max_tokens"), asked)
    assert first is not None and "max_completion_tokens" in first.told
    assert terms.params(asked)["max_completion_tokens"] == 4096 and "max_tokens" not in terms.params(asked)

    second = terms.learn(refusal("Unsupported parameter: max_completion_tokens", "max_completion_tokens"), asked)
    assert second is not None and "budget can no longer bound" in second.told
    assert not {"max_tokens", "max_completion_tokens"} & terms.params(asked).keys() and terms.unlimited


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum context length is 4096 "
            "tokens and your request has 600 input tokens (4096 > 4096 - 600).",
            3480,
        ),
        (
            "This model's maximum context length is 4096 tokens. However, you requested 4696 tokens (600 in the "
            "messages, 4096 in the completion). Please reduce the length of the messages or completion.",
            3480,
        ),
        (
            "You passed 601 input tokens and requested 4096 output tokens. However, the model's context length is only "
            "4096 tokens, resulting in a maximum input length of 0 tokens.",
            3479,
        ),
        (
            "This model's maximum context length is 4096 tokens. However, you requested 4096 output tokens and your "
            "prompt contains at least 600 input tokens, for a total of at least 4696 tokens.",
            3480,
        ),
        ("input length and `max_tokens` exceed context limit: 600 + 4096 > 4096, decrease input length", 3480),
        ("Prompt contains 600 tokens and 0 draft tokens, too large for model with 4096 maximum context length", 3480),
        ("This model's maximum context length is 4096 tokens", 3440),
    ],
)
@pytest.mark.parametrize("kind", [Kind.UNCLEAR, Kind.REQUEST])
def test_the_limit_of_tokens_is_fitted_to_the_context_window(text: str, left: int, kind: Kind) -> None:
    terms, asked = Terms(), request()
    lesson = terms.learn(refusal(text, kind=kind), asked)

    assert lesson is not None and lesson.max_tokens == left and "4,096" in lesson.told
    assert terms.fit(request(), prompt_tokens=700).max_completion_tokens == 4096 - 700 - 16
    again = terms.learn(refusal(text, kind=kind), asked.allowing(left))
    assert again is not None and again.told == "" and again.max_tokens is not None and again.max_tokens < left


def test_a_prompt_that_is_too_long_itself_cannot_be_fitted() -> None:
    text = "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens."
    said = (
        "This model's maximum context length is 4096 tokens. However, you requested 9096 tokens (5000 in the messages)"
    )
    for words in (text, said):
        assert Terms().learn(refusal(words, kind=Kind.REQUEST), request()) is None


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens is too large: 4096. This model supports at most 2048 completion tokens, whereas you provided 4096.",
        "max_tokens: 4096 > 2048, which is the maximum allowed number of output tokens for claude-x",
        "`max_tokens` must be less than or equal to `2048`, the maximum value for `max_tokens`",
        "Invalid max_tokens value, the valid range of max_tokens is [1, 2048]",
    ],
)
def test_the_models_own_limit_is_kept_from_then_on(text: str) -> None:
    terms = Terms()
    lesson = terms.learn(refusal(text), request())

    assert lesson is not None and lesson.max_tokens == 2048
    assert terms.fit(request(), 100).max_completion_tokens == 2048
    assert terms.fit(request(100), 100).max_completion_tokens == 100


def test_what_a_prompt_says_of_itself_teaches_nothing() -> None:
    prompt = "My thermostat's temperature is not supported, its context length is 512 tokens, and top_p is invalid."
    asked = Request(
        model="m",
        messages=[{"role": "user", "content": prompt}],
        max_tokens=4096,
        temperature=0.0,
        schema=SCHEMA,
        extra={"top_p": 0.9},
    )
    for said in (f"Invalid request: {prompt}", f"blocked: {prompt[:70]}...", f"input_value={prompt!r}"):
        assert Terms().learn(refusal(said), asked) is None


def test_a_nested_parameter_of_the_users_is_never_left_out() -> None:
    asked = request(extra={"provider": {"data_collection": "deny"}})
    assert (
        Terms().learn(refusal("temperature 2 is fine, but this is not supported by provider Novita"), asked) is not None
    )
    terms = Terms()
    terms.omitted.add("temperature")
    assert terms.learn(refusal("this is not supported by provider Novita"), asked) is None


def test_a_call_that_was_sent_before_a_lesson_is_sent_again_and_teaches_nothing() -> None:
    terms, asked = Terms(), request()
    said = refusal("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "max_tokens")
    before = terms.params(asked)
    first, second = terms.learn(said, asked, before), terms.learn(said, asked, before)

    assert first is not None and second is not None and second.told == "" and not terms.unlimited


TEXTS = [
    ("This endpoint's maximum context length is 4096 tokens. (300 of text input, 8192 in the output)", 4096 - 300 - 16),
    ("Requests with max_tokens > 2048 must have stream=true", 2048),
    ("The maximum tokens you requested exceeds the model limit of 2048", 2048),
    ("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 600 `inputs` tokens and 4096", None),
]


@pytest.mark.parametrize(("text", "left"), TEXTS)
def test_other_words_for_too_many_tokens(text: str, left: int | None) -> None:
    lesson = Terms().learn(refusal(text), request())
    assert lesson is not None and lesson.max_tokens is not None and lesson.max_tokens < 4096
    assert left is None or lesson.max_tokens == left


@pytest.mark.parametrize(
    "text",
    [
        "This response_format type is unavailable now",
        "response_format value as json_schema is enabled only for api versions 2024-08-01-preview and later",
        "JSON schema conversion failed: unsupported keyword",
        "The provided JSON schema contains features not supported by xgrammar.",
        "The specified schema produces a constraint that has too many states for serving: response_schema",
    ],
)
def test_other_words_for_a_schema_that_is_not_taken(text: str) -> None:
    terms = Terms()
    assert terms.learn(refusal(text), request()) is not None and terms.omitted == {"response_format"}


def test_other_errors_teach_nothing() -> None:
    assert Terms().learn(refusal("temperature is not supported", status=500, kind=Kind.PASSING), request()) is None
    assert Terms().learn(refusal("temperature is not supported", status=429, kind=Kind.LIMIT), request()) is None


def test_the_users_own_limit_is_not_raised() -> None:
    terms = Terms()
    terms.room = 9000
    assert terms.fit(request(), 10).max_completion_tokens == 9000
    assert terms.fit(request(extra={"max_tokens": 50}), 10).max_completion_tokens == 50


def test_a_request_above_the_limit_of_a_minute_asks_for_less() -> None:
    text = "Request too large for m on tokens per min (TPM): Limit 3000, Requested 4700. The input or output tokens"
    lesson = Terms().learn(refusal(text, status=429, kind=Kind.REQUEST), request())
    assert lesson is not None and lesson.max_tokens == 3000 - 604 - 16

    too_long = "Request too large for m on tokens per min (TPM): Limit 3000, Requested 9000."
    assert Terms().learn(refusal(too_long, status=429, kind=Kind.REQUEST), request()) is None
