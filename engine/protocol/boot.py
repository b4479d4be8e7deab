"""This boot of this machine, and when its processes started: neither a clock step nor a new host name changes them.

Linux tells both in /proc. macOS has a boot session, and keeps a process's start as it was first written. Elsewhere the
boot is "": processes cannot be told apart there, and locks alone decide.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_FIELD = 22 - 3
"""Of /proc/PID/stat, behind the program's name, which may itself hold spaces and brackets."""
_STATE_FIELD = 3 - 3


@cache
def boot_id() -> str:
    """Names this boot of this machine; "" where the system doesn't."""
    try:
        return BOOT_ID.read_text(encoding="utf-8").strip() if sys.platform == "linux" else _boot_session()
    except OSError:
        return ""


@cache
def pid_space() -> str:
    """Names the space that process ids count in: each container has its own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()) if sys.platform == "linux" else ""
    except OSError:
        return ""


def start_of(pid: int) -> float | None:
    """When a process of this machine started, in seconds on a clock that is never set; None where it runs no longer.

    They count from the boot on Linux, from the epoch elsewhere. A zombie runs no longer.
    """
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if fields[_STATE_FIELD] in (b"Z", b"X") else int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
    import psutil  # it takes longer to import than a list of runs to read

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def _boot_session() -> str:
    import ctypes

    size = ctypes.c_size_t(64)
    text = ctypes.create_string_buffer(size.value)
    sysctl = getattr(ctypes.CDLL(None), "sysctlbyname", None)
    failed = sysctl is None or sysctl(b"kern.bootsessionuuid", text, ctypes.byref(size), None, 0) != 0
    return "" if failed else text.value.decode("ascii", "replace")
