"""Whether a file lies on a disk of this machine: what SQLite's write-ahead log and shared memory need."""

from __future__ import annotations

from pathlib import Path

LOCAL = frozenset(
    {"apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "hfs", "jfs", "overlay", "tmpfs", "ufs", "xfs", "zfs"}
)
"""File systems that other machines never write to; a network's, or one that is unknown, is none of them."""


def is_local(path: Path) -> bool:
    """Whether the file system of a path is one of this machine alone. False where that is unknown."""
    import psutil  # it takes longer to import than this file to read

    place = path.resolve()
    try:
        mounts = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    except (OSError, psutil.Error):
        return False
    kind = next((mounts[folder] for folder in (place, *place.parents) if folder in mounts), "")
    return kind.lower() in LOCAL
