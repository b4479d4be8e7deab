"""Rate limits as providers have them: buckets of requests and tokens that refill all the time."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Bucket:
    """A token bucket (a leaky bucket as a meter) of `per_minute` units; it holds one second's worth, at least one.

    Its level may fall below zero, by the tokens of a completion; then it has to recover first.
    """

    per_minute: float
    level: float = field(init=False)
    filled_at: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.level = self.capacity

    @property
    def capacity(self) -> float:
        return max(1.0, self.per_minute / 60)

    def refill(self, now: float) -> None:
        """Add what has flowed in since the last call; `now` is in seconds of a monotonic clock."""
        self.level = min(self.capacity, self.level + (now - self.filled_at) * self.per_minute / 60)
        self.filled_at = now

    def wait_s(self, amount: float) -> float:
        """Seconds until `amount` fits, 0 if it does; more than the bucket holds fits when the bucket is full."""
        lacking = min(amount, self.capacity) - self.level
        return max(0.0, lacking * 60 / self.per_minute)

    def take(self, amount: float) -> None:
        self.level -= amount


class Limits:
    """Requests and tokens a minute, each with a limit or None."""

    def __init__(self, rpm: int | None, tpm: int | None) -> None:
        self._requests = Bucket(rpm) if rpm else None
        self._tokens = Bucket(tpm) if tpm else None

    def admit(self, tokens: int, now: float) -> float:
        """0 where one request with its prompt tokens fits, which is then counted; else seconds to wait."""
        demands = [(self._requests, 1), (self._tokens, tokens)]
        wait = 0.0
        for bucket, amount in demands:
            if bucket:
                bucket.refill(now)
                wait = max(wait, bucket.wait_s(amount))
        # The clock rounds, so a wait of nanoseconds counts as 0.
        if wait > 1e-6:
            return wait
        for bucket, amount in demands:
            if bucket:
                bucket.take(amount)
        return 0.0

    def charge(self, tokens: int) -> None:
        """Count the tokens of an admitted request's completion."""
        if self._tokens:
            self._tokens.take(tokens)

    def headers(self) -> dict[str, str]:
        """The x-ratelimit-* headers: limits, what is left now, and when the buckets are full again."""
        shown: dict[str, str] = {}
        for name, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            if bucket:
                shown[f"x-ratelimit-limit-{name}"] = f"{bucket.per_minute:.0f}"
                shown[f"x-ratelimit-remaining-{name}"] = f"{max(0.0, bucket.level):.0f}"
                shown[f"x-ratelimit-reset-{name}"] = f"{bucket.wait_s(bucket.capacity):.3f}s"
        return shown
