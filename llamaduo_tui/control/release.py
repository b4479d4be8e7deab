"""Starting a release, which outlives the terminal; its log is RUN/releasing/release.log."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.protocol.run_dir import Run, writable

OUTPUT = "output.log"
"""What libraries print during a release."""


def log_file(run: Run) -> Path:
    """Where a release writes what it does, line by line."""
    return run.releasing / "release.log"


def start(run: Run, arguments: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start a release in a session of its own; its exit status is 0 if all was released, 3 if something was refused."""
    with writable(run.folder):
        run.releasing.mkdir(exist_ok=True)
        with log_file(run).open("ab") as log, (run.releasing / OUTPUT).open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "engine.release", str(run.folder.resolve()), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=output,
                cwd="/",
                start_new_session=True,
            )


def serve(release: Path, artefact: str, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a server of an artefact in a session of its own; it writes what happens to it into `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "engine.release.serve", str(release.resolve()), artefact, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )


def size(run: Run) -> int:
    """The bytes of the log so far, 0 before there is one."""
    try:
        return log_file(run).stat().st_size
    except FileNotFoundError:
        return 0
