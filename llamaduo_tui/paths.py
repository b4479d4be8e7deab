"""Where things lie on this machine: the one module that knows."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.protocol.run_dir import Run


def runs_dir(chosen: Path | None = None) -> Path:
    """The folder of all runs: the one chosen, else $LLAMADUO_RUNS, else below the XDG state folder."""
    if chosen is not None:
        return chosen.expanduser().absolute()
    named = os.environ.get("LLAMADUO_RUNS")
    return Path(named).expanduser().absolute() if named else _xdg("XDG_STATE_HOME", ".local/state") / "runs"


def called(run: Run) -> str:
    """How commands call a run: by its name, or by its folder where that is not among the usual ones."""
    return run.name if run.folder.parent == runs_dir() else shlex.quote(str(run.folder))


def config_dir() -> Path:
    """The folder of the user's own settings of the app."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def typed_path(text: str, folder: Path | None = None) -> Path:
    """A path that a person typed, counted from a folder, else from the working folder."""
    path = Path(text)
    with suppress(RuntimeError):  # "~name" of nobody here is a name like any other
        path = path.expanduser()
    return (folder / path if folder is not None else path).absolute()


def is_folder(path: Path) -> bool:
    """Whether this is a folder that can be looked at; no path of any length raises."""
    try:
        return path.is_dir()
    except OSError:
        return False


def preferences_file() -> Path:
    """What the user has set of the app itself, such as the theme."""
    return config_dir() / "settings.toml"


def demo_settings() -> Path:
    """The settings of the demo, which come with the program."""
    from importlib import resources  # its imports take longer than all else here

    return Path(str(resources.files("engine") / "demo" / "migration.toml"))


def _xdg(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default) / "llamaduo"
