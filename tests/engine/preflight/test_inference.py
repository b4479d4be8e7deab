"""How the local LLM is run is looked at before anything is paid."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.preflight.inference import inference_problems
from engine.preflight.problems import raise_problems
from engine.protocol.errors import InputError, LlamaDuoError
from engine.settings.schema import Migration

SERVE = f"{sys.executable} -c pass"


def settings(**inference: Any) -> Migration:
    tables = {"coverage": {"source": "a.jsonl"}, "service": {"model": "sandbox"}}
    return Migration.model_validate({**tables, "inference": inference})


def problems(**inference: Any) -> list[LlamaDuoError]:
    return list(inference_problems(settings(**inference).inference))


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """Of an endpoint with one model, which wants a key."""

    class Models(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers.get("Authorization") == "Bearer right" else 401)
            self.end_headers()
            self.wfile.write(json.dumps({"data": [{"id": "llama-1b:latest"}]}).encode())

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Models)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_this_program_needs_nothing() -> None:
    assert problems() == []


def test_a_missing_vllm_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (problem,) = problems(backend="vllm")
    assert isinstance(problem, InputError) and problem.message == "inference.vllm: no such executable: vllm"
    assert "inference.vllm to its bin/vllm" in problem.hint
    with pytest.raises(InputError, match="no such executable"):
        raise_problems(settings(backend="vllm"))
    program = tmp_path / "vllm"
    program.write_text("")
    assert len(problems(backend="vllm", vllm=str(program))) == 1, "it cannot be run"
    program.chmod(0o755)
    assert problems(backend="vllm") == [] == problems(backend="vllm", vllm=str(program))


def test_an_endpoint_must_be_there(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
    (problem,) = problems(backend="endpoint", api_base=nobody, serve=SERVE)
    assert f"cannot be reached at {nobody}" in problem.message and "inference.api_base" in problem.hint

    endpoint = {"backend": "endpoint", "api_base": base, "serve": SERVE, "api_key_env": "BOX_KEY"}
    (problem,) = problems(**endpoint)
    assert problem.message == "inference.api_key_env: BOX_KEY is not in the environment"
    monkeypatch.setenv("BOX_KEY", "wrong")
    (problem,) = problems(**endpoint)
    assert "refuses the API key" in problem.message
    monkeypatch.setenv("BOX_KEY", "right")
    assert problems(**endpoint) == [] == problems(**endpoint, untuned_model="llama-1b")
    (problem,) = problems(**endpoint, untuned_model="llama-3b")
    assert "has no llama-3b: it has llama-1b:latest" in problem.message


def test_the_command_of_an_endpoint_must_exist() -> None:
    (problem,) = problems(backend="endpoint", serve="no-such-program {port}")
    assert problem.message == "inference.serve: no such executable: no-such-program"
