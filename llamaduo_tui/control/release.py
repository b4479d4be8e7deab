"""Starting a release, which outlives the terminal; its log is RUN/releasing/release.log."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from engine.protocol import isolation
from engine.protocol.run_dir import Run, writable
from engine.protocol.sharing import check_mine
from engine.release.environment import for_release, for_serving
from engine.settings.load import settings_of

OUTPUT = "output.log"
"""What libraries print during a release."""


def log_file(run: Run) -> Path:
    """Where a release writes what it does, line by line."""
    return run.releasing / "release.log"


def start(run: Run, arguments: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start a release in a session of its own; its exit status is 0 if all was released, 3 if something was refused.

    Raises InputError where this user may only read the run.
    """
    check_mine(run)
    environment = for_release(settings_of(run), os.environ)
    with writable(run.folder):
        for folder in (run.releasing, run.work):
            folder.mkdir(exist_ok=True)
        with log_file(run).open("ab") as log, (run.releasing / OUTPUT).open("ab") as output:
            return subprocess.Popen(
                isolation.module("engine.release", str(run.folder.resolve()), *arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=output,
                cwd=run.work,
                env=environment,
                start_new_session=True,
            )


def serve(
    release: Path, artefact: str, arguments: Sequence[str], log: Path, key_env: str | None = None
) -> subprocess.Popen[bytes]:
    """Start a server of an artefact in a session of its own; it writes what happens to it into `log`.

    `key_env` is the variable with the key that its clients show.
    """
    words = [*arguments, *(["--key-env", key_env] if key_env else [])]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            isolation.module("engine.release.serve", str(release.resolve()), artefact, *words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env=for_serving(_named(release), os.environ, key_env),
            start_new_session=True,
        )


def _named(release: Path) -> set[str]:
    """The variables that a run's settings name for secrets; none are known of a release that was copied elsewhere."""
    run = Run(release.resolve().parent)
    return settings_of(run).key_names if run.settings_file.is_file() else set()


def size(run: Run) -> int:
    """The bytes of the log so far, 0 before there is one."""
    try:
        return log_file(run).stat().st_size
    except FileNotFoundError:
        return 0
