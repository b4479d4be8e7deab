"""Which requests a server on loopback without a key answers: those of this machine's own programs, not of web pages."""

from __future__ import annotations

import re
from collections.abc import Mapping

OWN_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})


def of_web_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser sends the request for a page: it names the page in Origin, or says where it comes from."""
    return "Origin" in headers or headers.get("Sec-Fetch-Site", "none") != "none"


def to_own_host(headers: Mapping[str, str]) -> bool:
    """Whether the request names this machine: that of a page whose own name points here (DNS rebinding) does not."""
    return re.sub(r":\d+$", "", headers.get("Host", "")).lower() in OWN_HOSTS
