"""A gate in front of a server: a port that passes bytes on until it is cut, as a network or a killed process is."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
PIECE = 65536


class Gate:
    """Passes connections on to the server at `base`, an address with http:// and a path such as /v1."""

    def __init__(self, base: str) -> None:
        parts = urlsplit(base)
        self._host, self._port = parts.hostname or LOOPBACK, parts.port or 80
        self._path = parts.path.rstrip("/")
        self._own_port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def base(self) -> str:
        """The address of the server through the gate."""
        return f"http://{LOOPBACK}:{self._own_port}{self._path}"

    async def open(self) -> None:
        """Let connections through, on the same port as before."""
        self._server = await asyncio.start_server(self._connected, LOOPBACK, self._own_port)
        self._own_port = self._server.sockets[0].getsockname()[1]

    async def ready(self) -> None:
        """An open gate lets connections through at once."""

    async def cut(self) -> None:
        """Refuse connections, and break those that are open."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            behind_reader, behind_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            self._writers.discard(writer)
            writer.transport.abort()
            return
        self._writers.add(behind_writer)
        await asyncio.gather(_pass_on(reader, behind_writer), _pass_on(behind_reader, writer))
        self._writers -= {writer, behind_writer}


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()
