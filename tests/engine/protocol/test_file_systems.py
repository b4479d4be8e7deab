"""Which file systems are this machine's own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from engine.protocol.file_systems import is_local


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("/here/runs/a.sqlite", True),
        ("/here/home/me/a.sqlite", False),
        ("/here/home", False),
        ("/here/home/scratch/a.sqlite", True),
        ("/here/homely/a.sqlite", True),
        ("/here/box/a.sqlite", False),
    ],
)
def test_the_nearest_mount_counts(path: str, local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = {"/": "ext4", "/here/home": "nfs4", "/here/home/scratch": "XFS", "/here/box": "fuse.sshfs"}
    found = [SimpleNamespace(mountpoint=place, fstype=kind) for place, kind in mounts.items()]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: found)  # noqa: A006 - psutil's name
    assert is_local(Path(path)) is local


def test_an_unknown_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [])  # noqa: A006
    assert not is_local(Path("/here"))
