"""The person behind a command: the account that gave it, and the machine."""

from __future__ import annotations

import os
import pwd
import socket
from functools import cache


@cache
def person() -> str:
    """This process's user and host, as "ann@gpu-7"; a user without a name is a number."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return f"{name}@{socket.gethostname()}"
