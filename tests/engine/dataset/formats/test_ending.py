from __future__ import annotations

from typing import Any

import pytest

from engine.dataset.formats import ending
from engine.dataset.record import RowError


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        ("", ["stop", "STOP", "end_turn", "stop_sequence", "eos_token", "COMPLETE", "tool_calls", "tool_use"]),
        ("", ["function_call", "FINISH", "finished", None, "", float("nan"), "FINISH_REASON_STOP", "null"]),
        ("cut", ["length", "MAX_TOKENS", "max_tokens", "max_output_tokens", "model_length", "incomplete"]),
        ("cut", ["model_context_window_exceeded", "pause_turn", "LENGTH", "FinishReason.MAX_TOKENS", "who knows"]),
        ("filtered", ["content_filter", "SAFETY", "safety", "refusal", "RECITATION", "guardrail_intervened"]),
        ("filtered", ["BLOCKLIST", "ERROR_TOXIC", "content_filtered", "PROHIBITED_CONTENT", "SPII", "content-filter"]),
        ("failed", ["error", "MALFORMED_FUNCTION_CALL", "ERROR"]),
    ],
)  # fmt: skip
def test_every_spelling_says_what_it_says(kind: str, reasons: list[Any]) -> None:
    assert {reason: ending.verdict(reason) for reason in reasons} == dict.fromkeys(reasons, kind)


@pytest.mark.parametrize(
    "place",
    [
        {"finish_reason": "length"},
        {"finishReason": "MAX_TOKENS"},
        {"stop_reason": "max_tokens"},
        {"stopReason": "max_tokens"},
        {"done_reason": "length"},
        {"completionReason": "LENGTH"},
        {"metadata": {"finish_reason": "length"}},
        {"metadata": '{"finish_reason": "length"}'},
        {"response_metadata": {"stop_reason": "max_tokens"}},
        {"incomplete_details": {"reason": "max_output_tokens"}},
    ],
)
def test_every_place_is_looked_at(place: dict[str, Any]) -> None:
    with pytest.raises(RowError, match=r"^cut: "):
        ending.check(place)


@pytest.mark.parametrize(
    ("place", "failed"),
    [
        ({"error": {"code": 502, "message": "bad gateway"}}, "error 'bad gateway'"),
        ({"error": "timeout"}, "error 'timeout'"),
        ({"error": None, "exception": ""}, ""),
        ({"error": "null"}, ""),
        ({"status": "failure"}, "status 'failure'"),
        ({"status": "success"}, ""),
        ({"status": "cancelled"}, ""),
        ({"status_code": 500}, "status_code 500"),
        ({"response_status": "429"}, "response_status 429"),
        ({"response_status": 200}, ""),
        ({"level": "ERROR"}, ""),
        ({"level": "ERROR", "traceId": "t", "statusMessage": "timeout"}, "level ERROR 'timeout'"),
        ([], ""),
    ],
)
def test_failures_are_found_where_loggers_put_them(place: Any, failed: str) -> None:
    assert ending.failure(place) == failed


def test_a_stop_string_beside_a_whole_reason_says_nothing_in_any_order() -> None:
    ending.check({"finish_reason": "stop", "stop_reason": "</answer>"})
    ending.check({"stop_reason": "</answer>", "finish_reason": "stop"})
