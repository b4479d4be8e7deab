"""The drill with a server that is really killed: a small one in the place of a model's."""

from __future__ import annotations

import asyncio
import stat
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from door_sides import door_settings, made_run

from engine.local.inference.served import ServedProcess, free_port
from engine.protocol import jsonl
from engine.protocol.errors import LlamaDuoError
from engine.protocol.rows import Pair
from engine.protocol.takeover import files
from engine.takeover import journal
from engine.takeover.drill import rehearse
from engine.takeover.local_server import local_server

SERVER = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_GET(self): self.reply({})
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers["Authorization"] == "Bearer " + os.environ["KEY"]
        message = {"role": "assistant", "content": "local"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        self.reply({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}, known)
    def reply(self, row, known=True):
        body = json.dumps(row).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Started:
    """As `engine.release.serving.Server`, with the same process around another server."""

    def __init__(self, release: Path, artefact: str, port: int | None, *, key: str, log: Path, **_: Any) -> None:
        self.port = port or free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.process = ServedProcess(
            artefact, [sys.executable, "-c", SERVER, str(self.port)], log, extra={"KEY": key}, secrets=["KEY"]
        )
        self.kill, self.stop = self.process.kill, self.process.end

    @property
    def status(self) -> int | None:
        return self.process.status

    @property
    def healthy(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health", trust_env=False).is_success
        except httpx.RequestError:
            return False

    def wait(self, patience_s: float = 0.0) -> None:
        raise self.process.failed("ended", "free memory")


@pytest.fixture
def small_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.release.serving.start", Started)


async def test_a_killed_server_comes_back_at_its_address(tmp_path: Path, small_server: None) -> None:
    log = tmp_path / "local.log"
    async with local_server(tmp_path, "safetensors", log) as local, httpx.AsyncClient(trust_env=False) as client:
        base = local.base
        await local.cut()
        with pytest.raises(httpx.TransportError):
            for _ in range(50):
                await client.get(f"{base}/models")
                await asyncio.sleep(0.1)
        await local.open()
        await asyncio.wait_for(local.ready(), 30)
        assert (await client.get(f"{base}/models")).status_code == 200
        assert (local.base, local.restarts) == (base, 1)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{base}/models", trust_env=False)  # noqa: ASYNC210 - nothing else runs
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


async def test_a_server_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.release.serving.start", Started)
    monkeypatch.setattr(sys.modules[__name__], "SERVER", "raise SystemExit('error: no memory')")
    with pytest.raises(LlamaDuoError, match="no memory"):
        async with local_server(tmp_path, "safetensors", tmp_path / "local.log"):
            pass


async def test_nothing_fails_while_one_side_is_gone(tmp_path: Path, small_server: None) -> None:
    run = made_run(tmp_path, "http://127.0.0.1:9/v1")
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "ok"}]
    jsonl.write(run.coverage / "dev.jsonl", [Pair(id="p", messages=messages).to_row()])
    settings = door_settings("", artefact="safetensors", local_key_env="NONE")
    began = time.monotonic()
    assert await rehearse(run, settings, requests=40, rate=10.0) == []
    assert time.monotonic() - began < 120
    at = files(run.folder).folder
    page = (at / "drill.md").read_text()
    assert "Nothing failed; each request is in the journal once." in page
    assert "The server of safetensors was killed with SIGKILL; started again, it answered after" in page
    rows = journal.rows(at / "drill" / "journal.sqlite", "SELECT mode, answered_by FROM requests")
    assert len(rows) >= 80
    assert {*rows} == {(mode, side) for mode in ("local-first", "fallback") for side in ("local", "service")}
