"""Servers that answer with anything, and keys that HTTP cannot carry: nothing crashes, and no key is shown."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from engine.local.inference import requests
from engine.local.inference.requests import Requests, UnsupportedError
from engine.protocol.errors import InputError, LlamaDuoError, StageError
from engine.protocol.secrets import key_of

KEY = "sk-very-secret-1234"


@contextmanager
def server(body: bytes, status: int = 200, **headers: str) -> Iterator[Requests]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    own = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    own.daemon_threads = True
    threading.Thread(target=own.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield Requests(name="it", base=f"http://127.0.0.1:{own.server_port}/v1", hint="fix it", key=KEY, patience_s=0)
    finally:
        own.shutdown()
        own.server_close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[1]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"n": 1' + b"0" * 5000 + b"}",
        b"<html>" + KEY.encode(),
    ],
)
@pytest.mark.parametrize("status", [200, 500])
def test_any_body_ends_in_an_error_of_ours_without_the_key(body: bytes, status: int) -> None:
    with server(body, status) as own:
        for ask in (own.models, lambda: own.post_all("completions", [{}])):
            with pytest.raises(StageError) as caught:
                ask()
            assert KEY not in f"{caught.value}{caught.value.hint}" and len(caught.value.message) < 500


def test_a_response_that_cannot_be_unpacked_or_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(b"no gzip", Content_Encoding="gzip") as own, pytest.raises(StageError, match="it cannot be reached"):
        own.post_all("completions", [{}])
    monkeypatch.setattr(requests, "MOST_BYTES", 2**20)
    with server(gzip.compress(b" " * 2**22), Content_Encoding="gzip") as own:
        for ask in (own.models, lambda: own.post_all("completions", [{}])):
            with pytest.raises(StageError, match="more than 1 MiB"):
                ask()


def test_models_of_another_form_have_no_name() -> None:
    with server(b'{"data": [{"id": "a", "root": "/r"}, {"id": ["b"]}, 3, {"id": 1e999}, {}]}') as own:
        assert [(model.id, model.root) for model in own.models()] == [("a", "/r")] + [("", None)] * 4
    with server(b'{"data": {"id": "a"}}') as own:
        assert own.models() == []


@pytest.mark.parametrize(
    ("status", "kind"), [(400, UnsupportedError), (401, InputError), (404, StageError), (429, StageError)]
)
def test_a_server_that_repeats_the_key_is_not_quoted(status: int, kind: type[Exception]) -> None:
    body = b'{"error": {"message": "invalid key ' + KEY.encode() + b'"}}'
    with server(body, status) as own, pytest.raises(kind) as caught:
        own.post_all("completions", [{}])
    assert KEY not in str(caught.value) and "$KEY" in str(caught.value)


@pytest.mark.parametrize("ending", ["\r", "\n", "\r\n", " ", "\t\n"])
def test_ends_of_lines_are_no_part_of_a_key(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOX", KEY + ending)
    assert key_of("BOX", "inference.api_key_env") == KEY and key_of(None, "x") == "" == key_of("ABSENT", "x")


@pytest.mark.parametrize("key", [f"{KEY}\r{KEY}", f"{KEY}\x7f", f"{KEY} 2", f"{KEY}\xe9", f"\u201c{KEY}\u201d"])
def test_a_key_that_http_cannot_carry_is_refused_by_its_name(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOX", key)
    with pytest.raises(InputError, match=r"inference.api_key_env: BOX holds") as caught:
        key_of("BOX", "inference.api_key_env")
    assert KEY not in f"{caught.value}{caught.value.hint}"


def test_a_request_that_http_cannot_carry_does_not_show_its_headers() -> None:
    with server(b"{}") as live:
        own = replace(live, key=f"{KEY}\r", patience_s=300)
        for ask in (own.models, lambda: own.post_all("completions", [{}])):
            with pytest.raises(LlamaDuoError) as caught:
                ask()
            assert KEY not in str(caught.value) and caught.value.__cause__ is None
