"""A server with OpenAI's API, as vLLM and others have it, whose answers depend on what was asked alone.

As a program it stands in for the executables that serve models: `FAKE` in the environment says how it misbehaves.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

END = 2


class FakeOpenAI(ThreadingHTTPServer):
    """`models` are listed, `key` is demanded, `fault` may change an answer or break the server; `requests` are kept."""

    daemon_threads = True

    def __init__(self, port: int = 0, *, models: list[dict[str, Any]], key: str = "", fault: str = "") -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.models, self.key, self.fault = models, key, fault
        self.requests: list[dict[str, Any]] = []
        self.refusals = [503] * 2 if fault == "busy" else []

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: FakeOpenAI

    def do_GET(self) -> None:
        if self.path == "/health":
            self.reply({}, 500 if self.server.fault == "ill" and self.server.requests else 200)
        elif self.path == "/metrics":
            self.reply({})
        elif self.authorised():
            self.reply({"data": self.server.models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.authorised():
            return
        if self.server.refusals:
            self.reply({"error": {"message": "loading"}}, self.server.refusals.pop())
            return
        self.server.requests.append(body)
        fault = self.server.fault
        if fault in ("hang", "ill") and len(self.server.requests) > 2:
            time.sleep(60)
        if fault == "crash" and len(self.server.requests) > 2:
            print("RuntimeError: CUDA error: device-side assert triggered", flush=True)
            os._exit(7)
        if fault == "no logprobs" and "logprobs" in body:
            self.reply({"error": {"message": "logprobs is not supported"}}, 400)
        elif body["model"] not in [model["id"] for model in self.server.models]:
            self.reply({"error": {"message": f"no model {body['model']}"}}, 404)
        elif self.path.endswith("/chat/completions"):
            self.reply(chat_completion(body, fault))
        else:
            self.reply(completion(body, fault))

    def authorised(self) -> bool:
        if self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self.reply({"error": "invalid key"}, 401)
            return False
        return True

    def reply(self, value: Any, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None: ...


def drawn(seen: str, most: int) -> list[int]:
    """Tokens that depend on this text: an answer of a few, the last one is its end."""
    digest = hashlib.sha256(seen.encode()).digest()
    return [*(3 + byte for byte in digest[: digest[0] % 6]), END][:most]


def completion(body: dict[str, Any], fault: str) -> dict[str, Any]:
    model = "base" if fault == "ignores adapter" else body["model"]
    tokens = drawn(f"{model} {body['prompt']} {body['seed']}", body["max_tokens"])
    choice = {
        "text": "?",
        "finish_reason": "stop" if tokens[-1] == END else "length",
        "token_ids": tokens,
        "logprobs": {"token_logprobs": [-token / 100 for token in tokens]},
    }
    return {"choices": [choice], "usage": {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(tokens)}}


def chat_completion(body: dict[str, Any], fault: str) -> dict[str, Any]:
    content = f"{body['model']} {body['messages'][-1]['content']} {body['seed'] % 1000}"
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    if body.get("logprobs"):
        choice["logprobs"] = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}]}
    return {"choices": [choice], "usage": {"prompt_tokens": 4, "completion_tokens": 2}}


def main() -> None:
    """Serve as the command line of `vllm serve` says, or under --name on --port."""
    fault, arguments = os.environ.get("FAKE", ""), sys.argv[1:]
    if log := os.environ.get("FAKE_LOG"):
        with Path(log).open("a") as file:
            file.write(json.dumps({"arguments": arguments, "pid": os.getpid(), "environment": dict(os.environ)}) + "\n")
    if fault == "no start":
        print("INFO: starting", "ValueError: No available memory for the cache blocks", sep="\n", flush=True)
        sys.exit(1)
    if fault == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    base = arguments[arguments.index("--served-model-name") + 1] if "--served-model-name" in arguments else None
    models = [{"id": base or arguments[arguments.index("--name") + 1]}]
    if "--lora-modules" in arguments and fault != "no adapter":
        name, _, root = arguments[arguments.index("--lora-modules") + 1].partition("=")
        models.append({"id": name, "root": root, "parent": base})
    port = int(arguments[arguments.index("--port") + 1])
    FakeOpenAI(port, models=models, key=os.environ.get("VLLM_API_KEY", ""), fault=fault).serve_forever()


def serve(**how: Any) -> FakeOpenAI:
    """A server in a thread of this process."""
    server = FakeOpenAI(**how)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    main()
