"""Serves a released artefact with OpenAI's API: `start` gives a running server, which ends with this process."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Literal

import httpx

from engine.local.inference.served import ServedProcess, free_port
from engine.protocol.durations import duration
from engine.protocol.errors import InputError, StageError
from engine.protocol.loopback import address_of
from engine.protocol.paths import cache_dir
from engine.protocol.processes import how_ended
from engine.protocol.secrets import secret_names
from engine.release.artefact import Artefact, read_artefact
from engine.release.engines import KEY_VARIABLE, Engine, choose

LOOPBACK = "127.0.0.1"
LOOPBACKS = (LOOPBACK, "localhost", "::1")

LEAST_KEY = 8
"""Characters of a key on a network."""

SLOTS = 4
"""Requests that a server answers at once, unless told otherwise: each takes memory for a whole context."""

POLL_S = 0.25
HEALTH_S = 5.0

START_S = 1800.0
"""How long a server may take to start: vLLM compiles large models for many minutes."""

EngineName = Literal["auto", "vllm", "llama.cpp", "transformers"]


class Server:
    """A server of one artefact: OpenAI's API at `base_url`, for requests with `key` that ask for `model`.

    It has `/chat/completions` (also streamed), `/models`, and next to `/v1` `/health` and `/metrics`.
    """

    def __init__(
        self, artefact: Artefact, engine: Engine, process: ServedProcess, host: str, port: int, key: str, log: Path
    ) -> None:
        self.artefact, self.engine = artefact, engine.name
        self.model, self.port, self.key, self.log = artefact.model, port, key, log
        self.root = address_of(host, port)
        self.base_url = f"{self.root}/v1"
        self._process = process

    @property
    def status(self) -> int | None:
        """The exit status of a server that has ended; None while it runs."""
        return self._process.status

    @property
    def healthy(self) -> bool:
        """Whether it answers now."""
        if self.status is not None:
            return False
        try:
            with httpx.Client(trust_env=False, timeout=HEALTH_S) as client:
                return client.get(f"{self.root}/health").is_success
        except httpx.RequestError:
            return False

    def wait(self, patience_s: float = START_S) -> None:
        """Wait until it answers. Raises StageError, with the last lines of its log, where it ends or takes longer."""
        began = time.monotonic()
        while not self.healthy:
            if (status := self.status) is not None:
                raise self._process.failed(how_ended(status), "free memory, or choose another format")
            if time.monotonic() - began > patience_s:
                raise self._process.failed(f"was not up after {duration(patience_s)}", "choose a smaller model")
            time.sleep(POLL_S)

    def failed(self, problem: str, hint: str) -> StageError:
        """The error of a server that failed, with the last lines of its log."""
        return self._process.failed(problem, hint)

    def kill(self) -> None:
        """Kill it with SIGKILL, as a crash or the machine's memory does; `status` tells once it is gone."""
        self._process.kill()

    def stop(self) -> None:
        """End it and all that it started."""
        self._process.end()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()


def start(
    release: Path,
    artefact: str,
    port: int | None = None,
    *,
    host: str = LOOPBACK,
    key: str | None = None,
    log: Path | None = None,
    engine: EngineName = "auto",
    vllm: str = "vllm",
    slots: int = SLOTS,
    hidden: Collection[str] = (),
    trusted: bool = False,
    wait: bool = True,
) -> Server:
    """Start the server of an artefact of a release folder, by default on loopback, and wait until it answers.

    `key` is made up where it is None, and needed where `host` is not loopback; `port` is a free one; `log` gets what
    the server prints, no contents of requests. `engine` "auto" takes llama.cpp for GGUF; for the others vLLM where
    there is a GPU and the executable `vllm`, else transformers. No variable that looks like a secret, or is among
    `hidden`, reaches the server. Code that comes with the model runs only if `trusted` by a person. The server ends
    with `stop`, and with this process whatever ends it.

    Raises InputError where there is no such artefact or the engine isn't installed, StageError where it doesn't start.
    """
    described = read_artefact(release, artefact)
    if key is not None and len(key) < LEAST_KEY and host not in LOOPBACKS:
        problem = f"needs a key of at least {LEAST_KEY} characters: anyone on the network could ask it"
        raise InputError(f"a server at {host} {problem}", "name the variable that holds one: --key-env NAME")
    chosen = choose(described, engine, vllm, trusted=trusted)
    port, key = port or free_port(), secrets.token_hex(16) if key is None else key
    log = log or cache_dir() / "serve" / f"{described.model}-{port}.log"
    process = ServedProcess(
        chosen.name,
        chosen.command(release / artefact, described, host, port, slots),
        log,
        extra={**chosen.environment, KEY_VARIABLE: key, "VLLM_API_KEY": key},
        without=secret_names(os.environ, hidden),
        secrets=[KEY_VARIABLE],
    )
    server = Server(described, chosen, process, host, port, key, log)
    if wait:
        try:
            server.wait()
        except BaseException:
            server.stop()
            raise
    return server
