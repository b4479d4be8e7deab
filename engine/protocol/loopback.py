"""Servers on loopback: their addresses, and which requests one without a key answers.

It answers this machine's own programs, not web pages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

OWN_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})


_REACHED = dict.fromkeys(("", "0.0.0.0", "localhost"), "127.0.0.1") | {"::": "::1"}  # noqa: S104 - not bound to


def address_of(host: str, port: int) -> str:
    """The address at which this machine reaches a server that listens on `host`: one of IPv6 stands in brackets."""
    shown = _REACHED.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"


def of_web_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser sends the request for a page: it names the page in Origin, or says where it comes from."""
    return "Origin" in headers or headers.get("Sec-Fetch-Site", "none") != "none"


def to_own_host(headers: Mapping[str, str]) -> bool:
    """Whether the request names this machine: that of a page whose own name points here (DNS rebinding) does not."""
    return re.sub(r":\d+$", "", headers.get("Host", "")).lower() in OWN_HOSTS
