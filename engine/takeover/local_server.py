"""The local model's server as a part of a take-over: started with it, again after a crash, and ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from engine.protocol.errors import LlamaDuoError
from engine.protocol.processes import how_ended

POLL_S = 0.25

FIRST_PAUSE_S, LONGEST_PAUSE_S, HEALTHY_S = 1.0, 60.0, 60.0
"""Before a server that has crashed is started again; one that worked for long is no crash in a row."""


class Serving(Protocol):
    """A server at work, as `engine.release.serving.start` gives it."""

    port: int
    base_url: str

    @property
    def status(self) -> int | None: ...

    @property
    def healthy(self) -> bool: ...

    def wait(self, patience_s: float = ...) -> None: ...

    def kill(self) -> None: ...

    def stop(self) -> None: ...


class LocalServer:
    """The server of a released artefact, at one address whatever happens to its process.

    Its `key` is made here, and stands in no file. A `cut` server stays away until `open`.
    """

    def __init__(
        self, release: Path, artefact: str, log: Path, hidden: Collection[str] = (), *, trusted: bool = False
    ) -> None:
        self._release, self._artefact, self._log = release, artefact, log
        self._hidden, self._trusted = hidden, trusted
        self.key = secrets.token_hex(16)
        self._server = self._start(None)
        self._allowed = asyncio.Event()
        self._allowed.set()
        self._up = asyncio.Event()
        self.restarts = 0

    @property
    def base(self) -> str:
        """The address of its API."""
        return self._server.base_url

    async def ready(self) -> None:
        """Wait until it answers."""
        await self._up.wait()

    async def cut(self) -> None:
        """Kill it with SIGKILL, and start none until `open`."""
        self._allowed.clear()
        self._up.clear()
        self._server.kill()

    async def open(self) -> None:
        """Let a server be started again."""
        self._allowed.set()

    async def first(self) -> None:
        """Wait until the first server answers. Raises LlamaDuoError, with the last lines of its log, where it ends."""
        while not await asyncio.to_thread(lambda: self._server.healthy):
            if self._server.status is not None:
                self._server.wait()  # says why
            await asyncio.sleep(POLL_S)
        self._up.set()

    async def keep(self) -> None:
        """Start a server again whenever it has ended, until cancelled."""
        pause, began = FIRST_PAUSE_S, time.monotonic()
        while True:
            await asyncio.sleep(POLL_S)
            if (status := self._server.status) is None:
                if not self._up.is_set() and await asyncio.to_thread(lambda: self._server.healthy):
                    self._up.set()
                    print("the local model answers again", flush=True)
                continue
            self._up.clear()
            print(f"the local model's server {how_ended(status)}: starting it again", flush=True)
            pause = FIRST_PAUSE_S if time.monotonic() - began > HEALTHY_S else min(2 * pause, LONGEST_PAUSE_S)
            await asyncio.sleep(pause)
            await self._allowed.wait()
            self._server.stop()
            began = time.monotonic()
            try:
                self._server = self._start(self._server.port)
            except LlamaDuoError as error:  # of files that are gone for now
                print(f"the local model's server cannot start: {error.message}", flush=True)
            self.restarts += 1

    def stop(self) -> None:
        """End the server."""
        self._server.stop()

    def _start(self, port: int | None) -> Serving:
        from engine.release.serving import start

        return start(
            self._release,
            self._artefact,
            port,
            key=self.key,
            log=self._log,
            hidden=self._hidden,
            trusted=self._trusted,
            wait=False,
        )


@asynccontextmanager
async def local_server(
    release: Path, artefact: str, log: Path, hidden: Collection[str] = (), *, trusted: bool = False
) -> AsyncIterator[LocalServer]:
    """A server that answers, and that is started again where it ends. Raises LlamaDuoError where it does not start.

    `hidden` are variables that it does not get, next to all that look like secrets. Code that comes with the model runs
    only if `trusted`.
    """
    os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    server = LocalServer(release, artefact, log, hidden, trusted=trusted)
    try:
        await server.first()
        keeping = asyncio.create_task(server.keep())
        try:
            yield server
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
    finally:
        server.stop()
