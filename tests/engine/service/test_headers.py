import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.service.headers import LONGEST_PAUSE_S, retry_after, seconds_until_reset


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "17"}, 17),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "2", "retry-after-ms": "1250"}, 1.25),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "1e9"}, LONGEST_PAUSE_S),
    ],
)
def test_when_to_come_back(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers) == pytest.approx(seconds, abs=0.001)


def test_a_date_counts_from_now() -> None:
    at = email.utils.formatdate(time.time() + 40, usegmt=True)

    assert retry_after({"retry-after": at}) == pytest.approx(40, abs=2)


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "-inf", "1h" * 40, "99999999999999999999999999999999999h"])
def test_what_is_no_time_is_none_or_bounded(text: str) -> None:
    found = retry_after({"retry-after": text})
    assert found is None or 0 <= found <= LONGEST_PAUSE_S


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("1s", 1),
        ("6m0s", LONGEST_PAUSE_S),
        ("1m30.5s", 90.5),
        ("12ms", 0.012),
        ("0.339s", 0.339),
        ("2m", 120),
        ("7", 7),
    ],
)
def test_resets_as_openai_writes_them(reset: str, seconds: float) -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": reset}

    assert seconds_until_reset(headers, ["tokens"]) == pytest.approx(seconds)
    assert seconds_until_reset(headers, ["requests"]) == 0
    assert seconds_until_reset(headers | {"x-ratelimit-remaining-tokens": "1"}, ["tokens"]) == 0


def test_resets_as_anthropic_writes_them() -> None:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 30))
    headers = {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": at}

    assert seconds_until_reset(headers, ["requests", "tokens"]) == pytest.approx(30, abs=2)


@given(st.text(max_size=80))
def test_any_text_is_survived(text: str) -> None:
    found = retry_after({"retry-after": text, "retry-after-ms": text})
    assert found is None or 0 <= found <= LONGEST_PAUSE_S
