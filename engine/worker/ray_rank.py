"""One process of a stage on a node of a Ray cluster, held by an actor there.

The class travels to the node by value, as does `engine.protocol.parent_death`, so it uses nothing else of this package:
what the node has installed may be older.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from engine.protocol.parent_death import die_with_parent

SILENCE_S = 5.0
"""After so long without a poll the process stands still: the job that polls is paused, or has lost its network."""


class Rank:
    """Holds a process; it stands still while nobody polls, and is killed when this actor ends, however that happens."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._output: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._polled = time.monotonic()
        self._readers: list[threading.Thread] = []

    def place(self, marker: str) -> dict[str, Any]:
        """This node: its id, host name and address with its network interface, a free port, whether it sees a file."""
        import ray

        address = ray.util.get_node_ip_address()
        with socket.create_server(("", 0)) as server:
            port = server.getsockname()[1]
        return {
            "node": ray.get_runtime_context().get_node_id(),
            "host": socket.gethostname(),
            "address": address,
            "port": port,
            "interface": _interface(address),
            "sees": Path(marker).is_file(),
        }

    def start(self, module: str, arguments: list[str], variables: dict[str, str], source: str) -> str:
        """Start a module with this node's Python; `source` is a folder that comes first in its path if it is here.

        Returns why that is impossible, else "".
        """
        environment = {**os.environ, **variables}
        if Path(source).is_dir():
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [source, environment.get("PYTHONPATH")]))
        probe = [sys.executable, "-P", "-c", f"import importlib; importlib.import_module({module!r})"]
        found = subprocess.run(probe, env=environment, capture_output=True, text=True)
        if found.returncode:
            return (found.stderr.strip().splitlines() or [f"status {found.returncode}"])[-1]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=die_with_parent,
        )
        for number, stream in ((1, self._process.stdout), (2, self._process.stderr)):
            reader = threading.Thread(target=self._read, args=(number, stream), daemon=True)
            reader.start()
            self._readers.append(reader)
        self._polled = time.monotonic()
        threading.Thread(target=self._watch, daemon=True).start()
        return ""

    def poll(self, wait_s: float) -> tuple[list[tuple[int, bytes]], int | None]:
        """The lines that are new, each with 1 or 2 for the stream that it came from, and the exit status at the end."""
        assert self._process is not None
        self._polled = time.monotonic()
        self._process.send_signal(signal.SIGCONT)
        lines = []
        with contextlib.suppress(queue.Empty):
            lines.append(self._output.get(timeout=wait_s))
            while True:
                lines.append(self._output.get_nowait())
        ended = self._process.poll() is not None and not any(reader.is_alive() for reader in self._readers)
        done = ended and self._output.empty()
        return lines, self._process.returncode if done else None

    def _read(self, number: int, stream: Any) -> None:
        for line in stream:
            self._output.put((number, line))

    def _watch(self) -> None:
        """Stop the process while nobody polls."""
        assert self._process is not None
        while self._process.poll() is None:
            time.sleep(SILENCE_S / 10)
            if time.monotonic() - self._polled > SILENCE_S:
                self._process.send_signal(signal.SIGSTOP)


def _interface(address: str) -> str:
    """The name of the network interface with an address; "" where it is not known."""
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address == address for one in addresses):
            return str(name)
    return ""
