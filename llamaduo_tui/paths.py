"""Paths of the app: its runs, its settings, and paths that a person types."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.protocol.paths import DIRS

if TYPE_CHECKING:
    from engine.protocol.run_dir import Run


def runs_dir(chosen: Path | None = None) -> Path:
    """The folder of all runs: the chosen one, else $LLAMADUO_RUNS, else `runs` in the user's state folder.

    The state folder is $XDG_STATE_HOME/llamaduo or ~/.local/state/llamaduo.
    """
    folder = chosen or os.environ.get("LLAMADUO_RUNS") or DIRS.user_state_path / "runs"
    return Path(folder).expanduser().absolute()


def called(run: Run) -> str:
    """The argument that names a run in commands: its name, or its folder if that is not in the usual place."""
    return run.name if run.folder.parent == runs_dir() else shlex.quote(str(run.folder))


def config_dir() -> Path:
    """The folder of the user's settings of the app: $XDG_CONFIG_HOME/llamaduo or ~/.config/llamaduo."""
    return DIRS.user_config_path


def typed_path(text: str, folder: Path | None = None) -> Path:
    """A path that a person typed, relative to a folder, else to the working folder."""
    path = Path(text)
    with suppress(RuntimeError):  # "~name" of an unknown user is a name like any other
        path = path.expanduser()
    return (folder / path if folder is not None else path).absolute()


def is_folder(path: Path) -> bool:
    """Whether this is a folder; an invalid path is none, and raises nothing."""
    try:
        return path.is_dir()
    except OSError:
        return False


def preferences_file() -> Path:
    """The file of the user's preferences, such as the theme."""
    return config_dir() / "settings.toml"


def demo_settings() -> Path:
    """The settings of the demo, which come with the program."""
    from importlib import resources  # slow to import

    return Path(str(resources.files("engine") / "demo" / "migration.toml"))
