"""Archives a run: one file with everything that `llamaduo-tui verify` reads on another machine, and no key."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from engine.protocol import plain_file
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.run_dir import Run
from engine.protocol.tree import below
from engine.settings.load import settings_of

COMPRESSED = (".gz", ".tgz")
NAMES = (".tar", ".tar.gz", ".tgz")
LEFT_OUT = ("lock",)
BLOCK = 2**20


def archive(run: Run, file: Path) -> int:
    """Write the files of a run into a new tar file, gzipped where its name ends so; returns how many there are.

    It appears whole or not at all, readable for its owner alone. Raises InputError for a run at work, whose files
    still change, where the file exists or cannot be written, and where a file of the run has the value of an API key.
    """
    state = run.state()
    if state.working:
        raise InputError(f"{run.name} is {state}: its files still change", "stop it first, or wait for its end")
    if not file.name.casefold().endswith(NAMES):
        raise InputError(f"{file}: an archive is a tar file", f"name it {file.stem or run.name}.tar or .tar.gz")
    if file.exists():
        raise InputError(f"{file}: already exists", "choose another name: `export` never overwrites")
    keys = _keys(run)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    count = 0
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as raw, _open(raw, file) as tar:
            for path in _files(run):
                _refuse_keys(run, path, keys)
                tar.add(path, f"{run.name}/{path.relative_to(run.folder).as_posix()}", filter=_anonymous)
                count += 1
            raw.flush()
        unfinished.rename(file)
    except OSError as error:
        if isinstance(error, LlamaDuoError) or run.folder in Path(str(error.filename)).parents:  # a file of the run
            raise
        raise InputError(f"{file}: cannot be written: {error.strerror}", "choose another place") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def _files(run: Run) -> Iterator[Path]:
    """All regular files of the run, without those that only a worker needs."""
    for path in below(run.folder):
        parts = path.relative_to(run.folder).parts
        if path.is_file() and not path.is_symlink() and parts[0] not in LEFT_OUT and not parts[-1].startswith("."):
            yield path


def _open(raw: IO[bytes], file: Path) -> tarfile.TarFile:
    compressed = file.suffix.casefold() in COMPRESSED
    return tarfile.open(fileobj=raw, mode="w:gz") if compressed else tarfile.open(fileobj=raw, mode="w")


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """An entry without the names of this machine's user."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _keys(run: Run) -> list[bytes]:
    """The API keys that the run's settings name, as far as this environment has them."""
    try:
        names = settings_of(run).key_names
    except LlamaDuoError:
        return []
    return [value.encode() for name in names if len(value := os.environ.get(name, "")) >= 8]


def _refuse_keys(run: Run, path: Path, keys: list[bytes]) -> None:
    if not keys:
        return
    with plain_file.open_file(path) as file:
        if _contains(file, keys):
            raise InputError(
                f"{path.relative_to(run.folder)} contains the value of an API key: nothing was archived",
                "revoke that key, and remove it from the file",
            )


def _contains(file: IO[bytes], keys: list[bytes]) -> bool:
    tail = b""
    longest = max(map(len, keys))
    while block := file.read(BLOCK):
        text = tail + block
        if any(key in text for key in keys):
            return True
        tail = text[-longest:]
    return False
