"""The replies that all runs of a user share, as a client uses them: none where the cache is off."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from engine.service.cache import Cache
from engine.service.completion import Completion, Request
from engine.service.models import endpoint
from engine.settings.schema import SANDBOX_MODEL, Service


class SharedReplies:
    """The reply cache until it fails: `on_trouble` gets the first error, and the work goes on without it.

    A reply belongs to a model at an address; the sandbox's are not shared.
    """

    def __init__(
        self, cache: Cache | None, settings: Service, sandbox_base: str | None, on_trouble: Callable[[str], None]
    ) -> None:
        self._cache = cache
        self._settings = settings
        self._sandbox_base = sandbox_base
        self._on_trouble = on_trouble

    async def completion(self, request: Request) -> Completion | None:
        """The completion of an identical request of any run."""
        if self._cache is None or request.model == SANDBOX_MODEL:
            return None
        try:
            return await self._cache.completion(request, self._address(request.model))
        except sqlite3.Error as error:
            self._turn_off(error)
            return None

    async def record(self, request: Request, completion: Completion) -> None:
        """Keep a completion that could be read."""
        if self._cache is None or request.model == SANDBOX_MODEL:
            return
        try:
            await self._cache.record(request, self._address(request.model), completion)
        except sqlite3.Error as error:
            self._turn_off(error)

    async def forget(self, request: Request) -> None:
        """Delete a completion that could not be read."""
        if self._cache is None:
            return
        try:
            await self._cache.forget(request, self._address(request.model))
        except sqlite3.Error as error:
            self._turn_off(error)

    def _turn_off(self, error: sqlite3.Error) -> None:
        self._cache = None
        self._on_trouble(f"reply cache is off: {error}")

    def _address(self, model: str) -> str:
        return str(endpoint(model, self._settings, self._sandbox_base).get("api_base", ""))
