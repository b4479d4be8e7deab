"""`python -m engine.release.serve RELEASE ARTEFACT`: serves an artefact until it is told to end, and again if it fails.

What happens is in RELEASE's own state file, `state_file`, so that others find the server: address, pid, restarts.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from engine.protocol import jsonl, records
from engine.protocol.errors import LlamaDuoError
from engine.protocol.processes import how_ended
from engine.protocol.release import Served, serving_file
from engine.protocol.secrets import key_of
from engine.protocol.status import Process
from engine.release.artefact import read_artefact
from engine.release.engines import TRUST
from engine.release.serving import LOOPBACK, Server, start
from engine.release.sums import check_sums

POLL_S = 1.0

LONGEST_PAUSE_S = 60.0
"""Between two starts of a server that fails at once."""

LASTING_S = 60.0
"""After so long a server counts as having worked, and the next failure starts again with a short pause."""


class Keeper:
    """Keeps one server going."""

    def __init__(
        self,
        release: Path,
        artefact: str,
        host: str,
        port: int,
        key_env: str | None,
        vllm: str,
        *,
        trusted: bool = False,
    ) -> None:
        """Raises InputError where no key can be in the variable `key_env`."""
        self._release, self._artefact, self._host, self._port = release, artefact, host, port
        self._key_env, self._key = key_env, key_of(key_env, "--key-env")
        self._vllm, self._trusted, self._ended = vllm, trusted, threading.Event()
        self._restarts, self._error = 0, ""

    def stop(self, *_: object) -> None:
        """End the server once."""
        self._ended.set()

    def run(self) -> int:
        """Serve until `stop`. Raises LlamaDuoError where the first start fails."""
        try:
            read_artefact(self._release, self._artefact)
            check_sums(self._release / self._artefact)
            self._write(None)
            server, pause = self._start(), 1.0
            while True:
                began = time.monotonic()
                while not self._ended.wait(POLL_S) and server.status is None:
                    pass
                server.stop()
                if self._ended.is_set():
                    return 0
                pause = 1.0 if time.monotonic() - began > LASTING_S else min(2 * pause, LONGEST_PAUSE_S)
                print(f"the server {how_ended(server.status or 0)}: starting it again in {pause:g} s", flush=True)
                self._restarts += 1
                self._write(None)
                if self._ended.wait(pause):
                    return 0
                server = self._start()
        finally:
            serving_file(self._release).unlink(missing_ok=True)

    def _start(self) -> Server:
        server = start(
            self._release,
            self._artefact,
            self._port,
            host=self._host,
            key=self._key,
            vllm=self._vllm,
            trusted=self._trusted,
            wait=False,
        )
        try:
            while not self._ended.is_set() and not server.healthy:
                if server.status is not None:
                    server.wait()
                time.sleep(POLL_S / 4)
        except BaseException:
            server.stop()
            raise
        self._write(server)
        return server

    def _write(self, server: Server | None) -> None:
        served = Served(
            artefact=self._artefact,
            pid=os.getpid(),
            host=self._host,
            port=self._port,
            model=server.model if server else "",
            engine=server.engine if server else "",
            log=str(server.log) if server else "",
            up=server is not None,
            restarts=self._restarts,
            since=time.time(),
            key_env=self._key_env,
            process=Process.of(os.getpid()),
        )
        path = serving_file(self._release)
        path.parent.mkdir(parents=True, exist_ok=True)
        jsonl.write_json(path, records.to_row(served), mode=0o600)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.release.serve", description=__doc__)
    parser.add_argument("release", type=Path)
    parser.add_argument("artefact")
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key-env", help="the variable that holds the key")
    parser.add_argument("--vllm", default="vllm")
    parser.add_argument(TRUST, dest="trusted", action="store_true", help="run code that comes with the model")
    args = parser.parse_args()
    try:
        keeper = Keeper(
            args.release, args.artefact, args.host, args.port, args.key_env, args.vllm, trusted=args.trusted
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, keeper.stop)
        return keeper.run()
    except LlamaDuoError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
