"""What a run has asked of the service so far."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, kw_only=True):
    """Totals of the run so far, and since when the service has only had faults, in seconds since the epoch."""

    calls: int = 0
    cached_calls: int = 0
    failed_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    silent_since: float | None = None
