"""What a service says in its headers about when to come back, in the forms of OpenAI, Anthropic and HTTP itself."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

LONGEST_PAUSE_S = 300.0
"""No header makes us wait for longer at once."""

DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII)

FORMS = (
    ("x-ratelimit-remaining-{}", "x-ratelimit-reset-{}"),
    ("anthropic-ratelimit-{}-remaining", "anthropic-ratelimit-{}-reset"),
)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait before the same request is sent again; None where nothing readable is said."""
    exact = _seconds(headers.get("retry-after-ms", ""), 1e-3)
    return exact if exact is not None else _seconds(headers.get("retry-after", ""))


def used_up(headers: Mapping[str, str], kinds: Iterable[str]) -> float:
    """Seconds until there is something left of what a minute allows; `kinds` are of requests and tokens."""
    waits = [0.0]
    for kind in kinds:
        for remaining, reset in FORMS:
            if headers.get(remaining.format(kind), "").strip() == "0":
                waits.append(_seconds(headers.get(reset.format(kind), "")) or 0.0)
    return max(waits)


def _seconds(text: str, unit: float = 1.0) -> float | None:
    """A number, a duration as "1m30.5s", or a date, as seconds from now."""
    text = text.strip()[:64]
    try:
        seconds = float(text) * unit
    except ValueError:
        found = DURATION.fullmatch(text) if text else None
        seconds = _sum(found) if found else _until(text)
    return min(LONGEST_PAUSE_S, max(0.0, seconds)) if math.isfinite(seconds) else None


def _sum(found: re.Match[str]) -> float:
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _until(text: str) -> float:
    """Seconds until a date as in RFC 3339 or HTTP, or not a number."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return read(text).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            continue
    return math.nan
