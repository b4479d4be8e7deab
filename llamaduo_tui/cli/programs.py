"""Runs a heavy module in a separate process, and shows what it prints."""

from __future__ import annotations

import codecs
import os
import selectors
import signal
import subprocess
import sys
from contextlib import suppress
from typing import IO, NoReturn

import click

from engine.protocol import programs
from engine.protocol.terminal import LIVE, REWRITE, say
from llamaduo_tui.views.text import clean

GRACE_S = 2.0
"""Seconds for a program to end after Ctrl+C."""

CLEAR_LINE = "\r\x1b[K"
CHUNK = 1 << 16


def run_program(module: str, *arguments: str, data: bool = False) -> NoReturn:
    """Run a module in a separate process, show its output, and exit with its status.

    With `data` its standard output is data and goes where ours goes, as it is.
    """
    process = _started(programs.command(module, *arguments), None if data else subprocess.PIPE)
    try:
        show(process.stdout, process.stderr)
        sys.exit(process.wait())
    except KeyboardInterrupt:
        process.terminate()  # it may have half a file to remove
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        say("\nstopped", err=True)
        raise
    finally:
        process.kill()


def _started(command: list[str], output: int | None) -> subprocess.Popen[bytes]:
    """Start a program that leaves Ctrl+C to us: it prints no traceback of its own."""
    env = {**os.environ, LIVE: "1"} if sys.stderr.isatty() else dict(os.environ)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.PIPE,
            env=env,
            close_fds=False,  # a shell's <(...) is an open file
        )
    finally:
        signal.signal(signal.SIGINT, before)


def show(output: IO[bytes] | None, errors: IO[bytes] | None) -> None:
    """Print two streams as they come, up to their ends.

    What a program writes to its standard output before an error comes before it here too.
    """
    streams = [(stream, Lines(err)) for stream, err in ((output, False), (errors, True)) if stream is not None]
    with selectors.DefaultSelector() as selector:
        for stream, _ in streams:
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            selector.select()
            for stream, lines in streams:
                if stream in selector.get_map() and not _pass_on(stream.fileno(), lines):
                    selector.unregister(stream)


def _pass_on(descriptor: int, lines: Lines) -> bool:
    """Print all that is there to read; whether there may be more later."""
    while True:
        try:
            found = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return True
        lines.feed(found)
        if not found:
            return False


class Lines:
    """Prints a stream line by line; one that begins with `REWRITE` replaces the line before it."""

    def __init__(self, err: bool) -> None:
        self._err, self._rest, self._rewriting = err, "", False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, found: bytes) -> None:
        """Print the lines that are whole now; b"" is the end of the stream."""
        *whole, self._rest = (self._rest + self._decoder.decode(found, final=not found)).split("\n")
        for line in [*whole, self._rest] if self._rest and not found else whole:
            self._show(line)

    def _show(self, line: str) -> None:
        before = CLEAR_LINE if self._rewriting else ""
        self._rewriting = line.startswith(REWRITE)
        click.echo(before + clean(line.rstrip("\r").removeprefix(REWRITE)), nl=not self._rewriting, err=self._err)
