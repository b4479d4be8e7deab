"""When to retry, by a response's headers, in the forms of providers and of HTTP itself."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

from engine.service.providers import PROVIDERS

LONGEST_PAUSE_S = 300.0
"""No header makes us wait longer at once."""

DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII)

LIMIT_HEADERS = [provider.limit_headers for provider in PROVIDERS if provider.limit_headers is not None]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until the same request may be sent again; None where the headers name none."""
    exact = _seconds(headers.get("retry-after-ms", ""), 1e-3)
    return exact if exact is not None else _seconds(headers.get("retry-after", ""))


def seconds_until_reset(headers: Mapping[str, str], kinds: Iterable[str]) -> float:
    """Seconds until a used-up limit has room again, else 0; `kinds` are some of "requests" and "tokens"."""
    waits = [0.0]
    for kind in kinds:
        for remaining, reset in LIMIT_HEADERS:
            if headers.get(remaining.format(kind), "").strip() == "0":
                waits.append(_seconds(headers.get(reset.format(kind), "")) or 0.0)
    return max(waits)


def duration(text: str) -> float | None:
    """A number, a duration as "1m30.5s", or a date, as seconds from now, at most LONGEST_PAUSE_S; None for others."""
    return _seconds(text)


def _seconds(text: str, unit: float = 1.0) -> float | None:
    text = text.strip()[:64]
    try:
        seconds = float(text) * unit
    except ValueError:
        match = DURATION.fullmatch(text) if text else None
        seconds = _sum(match) if match else _until(text)
    return min(LONGEST_PAUSE_S, max(0.0, seconds)) if math.isfinite(seconds) else None


def _sum(duration: re.Match[str]) -> float:
    hours, minutes, seconds, milliseconds = (float(number or 0) for number in duration.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _until(text: str) -> float:
    """Seconds until a date as in RFC 3339 or HTTP, or not a number."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return parse(text).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            continue
    return math.nan
