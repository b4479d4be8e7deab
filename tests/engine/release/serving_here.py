"""The transformers server in a thread of this process: starting one of its own takes seconds."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from aiohttp import web

from engine.local.inference.served import free_port
from engine.protocol.connections import Connections
from engine.protocol.errors import StageError
from engine.release.servers.transformers import Handlers, create_app, load

KEY = "test-key"


class ServerHere:
    """What `engine.release.serving.Server` is to those who ask it."""

    engine = "transformers"
    key = KEY
    status = None

    def __init__(self, release: Path, name: str, **_: Any) -> None:
        folder = release / name
        artefact, tokenizer, model = load(folder)
        self.model, self.log, self.port = artefact.model, folder / "serve.log", free_port()
        self.root = f"http://127.0.0.1:{self.port}"
        self.base_url = f"{self.root}/v1"
        self.handlers = Handlers(folder, artefact, tokenizer, model, slots=8)
        self._app = create_app(self.handlers, KEY, Connections(1000))
        self._loop, up = asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(up,), daemon=True)
        self._thread.start()
        assert up.wait(30)

    def _run(self, up: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self._app)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", self.port).start())
        up.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    def failed(self, problem: str, hint: str) -> StageError:
        return StageError(problem, hint)

    def __enter__(self) -> ServerHere:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
