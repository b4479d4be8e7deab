"""Uploads to a Hub that stands on loopback: huggingface_hub itself sends, and what arrives is what was released."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from engine.protocol.errors import InputError, LlamaDuoError
from engine.release.push import push

TOKEN = "hf_0123456789abcdef"
LARGE = b"\x00weights" * 4096


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub's API as an upload takes; `state` is the test's."""

    state: dict[str, Any]

    def do_POST(self) -> None:
        body = self._body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, {"error": "Invalid username or password."})
        base = f"http://127.0.0.1:{self.server.server_address[1]}"
        if self.path == "/api/repos/create":
            self.state["created"].append(json.loads(body))
            return self._answer(200, {"url": f"{base}/me/tickets"})
        if self.path.endswith("/preupload/main"):
            files = [
                {"path": one["path"], "uploadMode": "lfs" if one["size"] > 10_000 else "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            return self._answer(200, {"files": files})
        if self.path.endswith("/info/lfs/objects/batch"):
            found = [
                {**one, "actions": {"upload": {"href": f"{base}/upload/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return self._answer(200, {"transfer": "basic", "objects": found})
        if self.path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.state["files"][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            if line["key"] == "lfsFile":
                self.state["files"][line["value"]["path"]] = self.state["uploaded"][line["value"]["oid"]]
        return self._answer(200, {"commitUrl": f"{base}/me/tickets/commit/1", "commitOid": "1" * 40, "success": True})

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/me/tickets?") or self.path == "/api/models/me/tickets":
            return self._answer(200, {"id": "me/tickets", "private": self.state["private"]})
        return self._answer(404, {})

    def do_PUT(self) -> None:
        body = self._body()
        self.state["uploaded"][hashlib.sha256(body).hexdigest()] = body
        self._answer(200, {})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing on the screen."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    Hub.state = {"private": True, "created": [], "files": {}, "uploaded": {}}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield Hub.state
    server.shutdown()
    server.server_close()


@pytest.fixture
def release(tmp_path: Path) -> Path:
    for name in ("safetensors", "lora"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text(f"---\nlicense: apache-2.0\n---\n# {name}\n")
        (tmp_path / name / "model.safetensors").write_bytes(LARGE)
    return tmp_path


def test_one_artefact_is_the_repository_which_is_private(release: Path, hub: dict[str, Any]) -> None:
    told: list[str] = []
    push(release, ["lora"], "me/tickets", told.append)
    (made,) = hub["created"]
    assert (made["name"], made.get("organization"), made.get("visibility", made.get("private"))) in (
        ("tickets", "me", "private"),
        ("tickets", "me", True),
    )
    assert hub["files"].keys() == {"README.md", "model.safetensors"}
    assert hub["files"]["model.safetensors"] == LARGE
    assert told == [f"lora: uploading to {constants.ENDPOINT}/me/tickets"]


def test_a_public_repository_that_is_there_gets_nothing(release: Path, hub: dict[str, Any]) -> None:
    hub["private"] = False
    with pytest.raises(InputError, match="me/tickets is public"):
        push(release, ["lora"], "me/tickets", lambda _: None)
    assert hub["files"] == {}


def test_several_have_a_folder_each(release: Path, hub: dict[str, Any]) -> None:
    push(release, ["safetensors", "lora"], "me/tickets", lambda _: None)
    assert hub["files"].keys() == {
        f"{name}/{file}" for name in ("safetensors", "lora") for file in ("README.md", "model.safetensors")
    }
    assert hub["files"]["safetensors/README.md"].endswith(b"# safetensors\n")


def test_what_the_hub_refuses_is_one_line(release: Path, hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong_0123456789")
    with pytest.raises(LlamaDuoError, match="me/tickets: the Hub refuses: ") as error:
        push(release, ["lora"], "me/tickets", lambda _: None)
    assert error.value.hint == "set HF_TOKEN to a token that may write"
    assert "\n" not in error.value.message
    assert "hf_wrong" not in error.value.message
    for name in ("a b/c", "a/b/c", "../x"):
        with pytest.raises(InputError, match="not a Hub id"):
            push(release, ["lora"], name, lambda _: None)
    with pytest.raises(InputError, match="nothing was released"):
        push(release, [], "me/tickets", lambda _: None)
    assert hub["files"] == {}


def test_an_upload_that_breaks_off_is_one_line(
    release: Path, hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This Hub has no Xet storage, whose library raises errors of Python's own."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    with pytest.raises(LlamaDuoError, match=r"breaks off: .*xet-write-token"):
        push(release, ["lora"], "me/tickets", lambda _: None)
    assert hub["files"] == {}


def test_no_hub_is_one_line_too(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(LlamaDuoError, match="cannot be reached"):
        push(release, ["lora"], "me/tickets", lambda _: None)
