"""`python -m engine.sandbox`: serve the sandbox on this machine until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

from aiohttp import web

from engine.protocol import jsonl
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.limits import MOST_A_MINUTE
from engine.sandbox.faults import KINDS
from engine.sandbox.server import Settings, create_app

HOST = "127.0.0.1"


class Parser(argparse.ArgumentParser):
    """Reports bad usage like every other command."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message, f"see {self.prog} --help")


def read_options(arguments: list[str]) -> argparse.Namespace:
    """The command line's options. Raises InputError."""
    parser = Parser(prog="llamaduo-tui sandbox", description="An offline stand-in for a service LLM.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0, the default, takes a free port")
    parser.add_argument("--rpm", type=int, help="requests a minute; more get status 429")
    parser.add_argument("--tpm", type=int, help="tokens a minute; more get status 429")
    parser.add_argument("--latency", type=float, default=0.0, metavar="S", help="seconds before each response")
    parser.add_argument(
        "--faults",
        default="",
        metavar="SPEC",
        help=f"share of requests that get a fault, kind=share,...; kinds: {', '.join(KINDS)}",
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="append a JSON line for each request and response")
    parser.add_argument("--announce", type=Path, metavar="FILE", help="write port and pid to this file once it listens")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when standard input is closed")
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= 65535:
        raise InputError(f"--port {options.port}: invalid port", "use 0 to 65535; 0 takes a free port")
    for name in ("rpm", "tpm"):
        limit = getattr(options, name)
        if limit is not None and not 1 <= limit <= MOST_A_MINUTE:
            message = f"--{name} {limit}: must be from 1 to {MOST_A_MINUTE:,}"
            raise InputError(message, "leave it out to set no limit")
    if not 0 <= options.latency <= 3600:
        raise InputError(f"--latency {options.latency}: must be from 0 to 3600 seconds")
    return options


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM, SIGINT or, with --exit-with-parent, the end of standard input. Raises LlamaDuoError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.exit_with_parent:
        # A thread, as standard input may be a file, and an event loop cannot wait for one.
        threading.Thread(target=_wait_for_end_of_input, args=(loop, stop), daemon=True).start()

    app = create_app(Settings(options.rpm, options.tpm, options.latency, options.faults, options.log))
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, options.port).start()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise LlamaDuoError(f"port {options.port}: {reason.lower()}", "use --port 0 to take a free port") from None
        port = runner.addresses[0][1]
        if options.announce:
            jsonl.write_json(options.announce, {"port": port, "pid": os.getpid()})
        print(f'sandbox (not a language model): http://{HOST}:{port}/v1, model "sandbox", any API key', flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


def _wait_for_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        continue
    loop.call_soon_threadsafe(stop.set)


def main() -> int:
    """Run the command; returns its exit status."""
    try:
        asyncio.run(serve(read_options(sys.argv[1:])))
    except LlamaDuoError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
