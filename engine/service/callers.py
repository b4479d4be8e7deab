"""The callers that wait for completions of batch jobs."""

from __future__ import annotations

import asyncio

from engine.service.completion import Completion, Request

Requests = dict[str, Request]
"""Requests by their digests."""


class Callers:
    """Who waits for which request; each gets its completion, None where it is to send it directly, or a failure."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[Completion | None]] = {}
        self._unheard: dict[str, Exception] = {}
        """Failures of requests for which nobody waited yet."""

    def add(self, key: str) -> asyncio.Future[Completion | None]:
        """Wait for a request's completion, until `remove`."""
        waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        if key in self._unheard:
            waiting.set_exception(self._unheard[key])
        return waiting

    def remove(self, key: str) -> None:
        """Wait no longer."""
        del self._waiting[key]

    def wanted(self, requests: Requests) -> Requests:
        """The requests that somebody still waits for."""
        return {key: request for key, request in requests.items() if self._is_open(key)}

    def give(self, requests: Requests, completions: dict[str, Completion]) -> None:
        """Hand out completions; the callers of requests without one send them directly."""
        for key in self.wanted(requests):
            self._waiting[key].set_result(completions.get(key))

    def fail(self, requests: Requests, error: Exception) -> None:
        """Raise an error where these requests are waited for, now or later."""
        for key in requests:
            if self._is_open(key):
                self._waiting[key].set_exception(error)
            elif key not in self._waiting:
                self._unheard[key] = error

    def _is_open(self, key: str) -> bool:
        waiting = self._waiting.get(key)
        return waiting is not None and not waiting.done()
