"""One door as a process, on the socket that its keeper holds, from its first request to its last."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

from aiohttp import web

from engine.protocol.connections import Connections, allow_many
from engine.protocol.errors import InputError
from engine.protocol.run_dir import Run
from engine.protocol.server_log import log_kinds_alone
from engine.protocol.takeover import Mode, TakeoverFiles, read_settings, read_state, read_status
from engine.takeover.door import Door
from engine.takeover.keeper import BACKLOG, READY
from engine.takeover.setup import parts_of

TICK_S = 0.25
IDLE_S = 60.0
"""Seconds that a connection may take for a request's head, and stay open between two."""

LINGER_S = 6.0
"""Seconds that a door which is about to end still answers on its open connections, so that clients leave in peace:
OpenAI's keep one for 5 s."""

FINISH_S = 120.0
"""Seconds for answers in flight as a door ends."""


async def serve(run: Run, at: TakeoverFiles, listening: socket.socket) -> None:
    """Be the door, until SIGTERM. Raises LlamaDuoError where it cannot start."""
    settings, state = read_settings(at), read_state(at)
    if settings is None:
        raise InputError(f"{at.folder}: no take-over", "llamaduo-tui takeover RUN --mode shadow")
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with parts_of(run, at, settings, state.mode if state else Mode.SHADOW) as parts:
        connections = Connections(allow_many() // 2)
        door = Door(parts, connections)
        if lost := await parts.journal.close_lost():
            print(f"{lost} requests were open when an earlier door ended: they are in the journal as lost", flush=True)
        await parts.standing.resume()
        parts.standing.obey()
        runner = web.AppRunner(
            door.app(), access_log=None, keepalive_timeout=IDLE_S, handler_cancellation=True, shutdown_timeout=FINISH_S
        )
        await runner.setup()
        site = web.SockSite(runner, listening, backlog=BACKLOG)
        await site.start()
        sys.stdout.write(READY.decode())
        sys.stdout.flush()
        assert runner.server is not None
        while not stopping.is_set():
            connections.close_waiting(runner.server.connections)
            parts.standing.obey()
            if parts.comparer is not None:
                parts.standing.hold(parts.comparer.held)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), TICK_S)
        succeeded = _succeeded(at)  # a successor's state is newer
        if not succeeded:
            parts.standing.write()
        await _leave(door, site)
        for _ in range(round(LINGER_S / TICK_S)):
            parts.standing.obey(writes=not succeeded)
            await asyncio.sleep(TICK_S)
        await runner.cleanup()
        await parts.pairing.drain(5.0)
        if parts.comparer is not None:
            await parts.comparer.drain(5.0)


def _succeeded(at: TakeoverFiles) -> bool:
    """Whether another door has taken over from this one."""
    status = read_status(at)
    return status is not None and status.door is not None and status.door.pid != os.getpid()


async def _leave(door: Door, site: web.SockSite) -> None:
    """Accept no more, and let each answer that still goes out be the last on its connection."""
    door.draining = True
    await site.stop()


def main_door(folder: Path, at: Path, number: int) -> int:
    """Run one door on an inherited socket. Raises LlamaDuoError."""
    log_kinds_alone()
    asyncio.run(serve(Run(folder), TakeoverFiles(at), socket.socket(fileno=number)))
    return 0
