"""Who may read a run: its owner alone, its group the state and scores, or its group all but the sealed prompts.

The modes of files say it, so that readers need no more than the file system. The run's folder and those in it are open
to the group where anything is; the umask of the run's processes closes or opens what they write from then on.
"""

from __future__ import annotations

import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path
from typing import Literal

from engine.protocol.errors import InputError
from engine.protocol.run_dir import Run
from engine.protocol.tree import below

Readers = Literal["none", "group", "all"]

STATE = ("format", "status.json", "decision.json", "machine.jsonl")
"""State, scores, decisions and the load of the machine; all other files may hold prompts, responses, answers of people
or errors about them."""
SEALED = ("test.sealed", "test.jsonl")
"""For nobody but the owner, whatever is shared."""


def apply(run: Run, share: Readers) -> None:
    """Give a run's files the modes of a share, and let this process and its children write new ones so.

    Files of somebody else, and those with a name elsewhere, are left as they are.
    """
    os.umask(umask(share))
    for path in (run.folder, *below(run.folder)):
        depth = len(path.relative_to(run.folder).parts)
        if path.is_dir() and not path.is_symlink():
            _set(path, 0o750 if share == "all" or (share == "group" and depth <= 1) else 0o700)
        else:
            shared = share == "all" or (share == "group" and depth <= 2 and path.name in STATE)
            _set(path, 0o640 if shared and path.name not in SEALED else 0o600)


def umask(share: Readers) -> int:
    """The umask of a run's processes."""
    return 0o027 if share == "all" else 0o077


def owner(run: Run) -> str:
    """The name of the user whose run it is; "" where it is this user's. Raises OSError where the folder is gone."""
    return _other_user(run.folder.stat().st_uid)


def denied(error: PermissionError) -> InputError:
    """A file that this user may not open, with whom to ask for it."""
    path = Path(os.fsdecode(error.filename or "."))
    for place in (path, *path.parents):
        with suppress(OSError):
            theirs = _other_user(place.stat().st_uid)
            break
    else:
        theirs = ""
    if not theirs:
        return InputError(f"{path}: permission denied", "see its mode: ls -l")
    return InputError(
        f"{path}: permission denied: it is a file of {theirs}",
        'ask its owner; [run] share = "group" or "all" opens a run to the group of its folder',
    )


def _other_user(uid: int) -> str:
    """The name of a user; "" for this one."""
    if uid == os.geteuid():
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def hides_events(run: Run) -> bool:
    """Whether this user may read the run's state alone."""
    return run.events_file.exists() and not os.access(run.events_file, os.R_OK)


def may_change(run: Run) -> bool:
    """Whether this user may answer, control and delete a run."""
    return os.access(run.folder, os.R_OK | os.W_OK | os.X_OK)


def check_mine(run: Run) -> None:
    """Raise InputError where this user may only read a run, and where its folder is gone."""
    run.check_is_there()
    if not may_change(run):
        theirs = owner(run) or "this user, who may not write it"
        raise InputError(
            f"{run.name} is a run of {theirs}: you can't change it", "ask its owner, or start your own run"
        )


def is_private(run: Run) -> bool:
    """Whether this user may not even see that run's state."""
    return not os.access(run.folder, os.R_OK | os.X_OK) or (
        run.status_file.exists() and not os.access(run.status_file, os.R_OK)
    )


def _set(path: Path, mode: int) -> None:
    with suppress(OSError):
        found = path.lstat()
        own = found.st_uid == os.geteuid() and (stat.S_ISDIR(found.st_mode) or found.st_nlink == 1)
        if own and not stat.S_ISLNK(found.st_mode) and stat.S_IMODE(found.st_mode) & 0o777 != mode:
            path.chmod(mode | (found.st_mode & stat.S_ISGID))
