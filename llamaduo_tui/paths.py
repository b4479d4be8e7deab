"""Paths of the app: its runs, its settings, and paths that a person types."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from engine.protocol.paths import DIRS
from engine.protocol.paths import called as called
from engine.protocol.paths import runs_dir as runs_dir


def config_dir() -> Path:
    """The folder of the user's settings of the app: $XDG_CONFIG_HOME/llamaduo or ~/.config/llamaduo."""
    return DIRS.user_config_path


DRAFT = ".draft"


def drafts_dir() -> Path:
    """The folder of the unsaved settings that open forms keep."""
    return DIRS.user_state_path / "drafts"


def drafts() -> list[Path]:
    """The files of all unsaved settings; none where they cannot be listed."""
    try:
        return sorted(drafts_dir().glob(f"*{DRAFT}"))
    except OSError:
        return []


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
