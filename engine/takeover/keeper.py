"""The keeper: holds the port, and keeps a door at work behind it.

It opens the port and never answers; a door inherits the open socket. So connections wait in the kernel while no door
accepts them, and none is refused where one door follows another. On SIGHUP the keeper starts a second door, and ends
the first once the second accepts: the first lets its clients go one reply at a time. A door that dies is started again.
SIGTERM ends both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

from msgspec.structs import replace

from engine.protocol import isolation, jsonl, records
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.loopback import address_of
from engine.protocol.processes import how_ended
from engine.protocol.run_dir import Run
from engine.protocol.secrets import Redacted
from engine.protocol.status import Process
from engine.protocol.takeover import DoorSettings, DoorStatus, TakeoverFiles, read_settings
from engine.settings.load import settings_of
from engine.takeover.access import door_key
from engine.takeover.environment import needed
from engine.takeover.local_server import LocalServer, local_server
from engine.takeover.lock import lock
from engine.takeover.released import LOCAL_KEY, trusts_code

BACKLOG = 1024
READY = b"ready\n"
"""The line by which a door says that it accepts."""

LONGEST_END_S = 180.0
"""Seconds that a door gets to finish what is in flight."""

FIRST_PAUSE_S, LONGEST_PAUSE_S, HEALTHY_S = 0.2, 30.0, 60.0
"""Before a door that has crashed is started again; one that worked for long is no crash in a row."""


def listen(settings: DoorSettings) -> socket.socket:
    """The open port. Raises LlamaDuoError where it cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((settings.host, settings.port))
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        raise LlamaDuoError(
            f"{settings.host}:{settings.port}: {(error.strerror or 'cannot be used').lower()}", "choose another --port"
        ) from None
    opened.setblocking(False)
    return opened


class Keeper:
    """Holds the port, keeps a door at work."""

    def __init__(self, run: Run, at: TakeoverFiles, settings: DoorSettings) -> None:
        self._run, self._at, self._settings = run, at, settings
        self._lock = lock(at)
        self._socket = listen(settings)
        host, port = self._socket.getsockname()[:2]
        self._status = DoorStatus(keeper=Process.of(os.getpid()), address=f"{address_of(host, port)}/v1")
        self._stopping = asyncio.Event()
        self._restart = asyncio.Event()
        self._named = {name for name in (settings.key_env, settings.local_key_env) if name}
        self._keys: dict[str, str] = {}

    async def keep_with(self, local: LocalServer) -> int:
        """Keep a door at work in front of a server that this process has started."""
        self._settings = replace(self._settings, local=local.base, local_key_env=LOCAL_KEY)
        jsonl.write_json(self._at.settings, records.to_row(self._settings), mode=0o600)
        self._keys[LOCAL_KEY] = local.key
        return await self.keep()

    async def keep(self) -> int:
        """Keep a door at work until SIGTERM; the exit status is 1 where the first one could not start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._restart.set)
        door = await self._start()
        if door is None:
            self._write(stopped=True)
            return 1
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            began = time.monotonic()
            await self._until(door)
            if self._stopping.is_set():
                break
            if door.returncode is None:
                self._restart.clear()
                print("starting another door", flush=True)
                if (successor := await self._start()) is not None:
                    await self._end(door)
                    door = successor
                continue
            print(f"the door {how_ended(door.returncode or 0)}: starting it again", flush=True)
            pause = FIRST_PAUSE_S if time.monotonic() - began > HEALTHY_S else min(LONGEST_PAUSE_S, 2 * pause)
            while (again := await self._start()) is None and not self._stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)
                pause = min(LONGEST_PAUSE_S, 2 * pause)
            door = again or door
        await self._end(door)
        self._write(door=None, stopped=True)
        self._socket.close()
        return 0

    async def _until(self, door: asyncio.subprocess.Process) -> None:
        """Wait for the end of the door, or for a signal."""
        waits = [asyncio.ensure_future(one) for one in (door.wait(), self._stopping.wait(), self._restart.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for one in waits:
            one.cancel()

    async def _start(self) -> asyncio.subprocess.Process | None:
        """A door that accepts; None where it ends before that, with the reason in the log."""
        number = self._socket.fileno()
        door = await asyncio.create_subprocess_exec(
            *isolation.module("engine.takeover", "door", str(self._run.folder), str(self._at.folder)),
            *("--socket", str(number)),
            pass_fds=[number],
            cwd=self._at.folder,
            env=needed(settings_of(self._run), os.environ, self._named) | self._keys,
            stdout=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.DEVNULL,
        )
        assert door.stdout is not None
        while line := await door.stdout.readline():
            if line == READY:
                self._write(door=Process.of(door.pid), starts=self._status.starts + 1)
                asyncio.get_running_loop().create_task(_pass_on(door.stdout))
                return door
            sys.stdout.write(line.decode(errors="replace"))
            sys.stdout.flush()
        await door.wait()
        return None

    async def _end(self, door: asyncio.subprocess.Process) -> None:
        if door.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                door.terminate()
        try:
            await asyncio.wait_for(door.wait(), LONGEST_END_S)
        except TimeoutError:
            door.kill()
            await door.wait()

    def _write(self, **changes: object) -> None:
        self._status = replace(self._status, **changes)
        jsonl.write_json(self._at.status, records.to_row(self._status), mode=0o600)


async def _pass_on(output: asyncio.StreamReader) -> None:
    """What a door prints goes into the keeper's log."""
    while line := await output.readline():
        sys.stdout.write(line.decode(errors="replace"))
        sys.stdout.flush()


def main_keeper(folder: Path, at: TakeoverFiles) -> int:
    """Run the keeper of a run's door. Raises LlamaDuoError."""
    run = Run(folder)
    settings = read_settings(at)
    if settings is None:
        raise InputError(f"{at.folder}: no take-over", "llamaduo-tui takeover RUN --mode shadow")
    door_key(settings)  # before a port is opened
    names = {*settings_of(run).key_names, *(name for name in (settings.key_env, settings.local_key_env) if name)}
    sys.stdout = sys.stderr = Redacted(sys.stdout, names)

    async def keep() -> int:
        keeper = Keeper(run, at, settings)
        if not settings.artefact:
            return await keeper.keep()
        async with local_server(run.release, settings.artefact, at.local_log, names, trusted=trusts_code(run)) as local:
            return await keeper.keep_with(local)

    return asyncio.run(keep())
