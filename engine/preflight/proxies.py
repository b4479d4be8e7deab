"""Whether an address is reached through a proxy, by the variables that the clients of services read, too."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_of(address: str) -> str | None:
    """The proxy for a valid address as HOST:PORT, without the password that it may have; None where none is used."""
    parts = urlsplit(address)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(_host_and_port(parts)):
        return None
    return _host_and_port(urlsplit(proxy if "://" in proxy else f"//{proxy}"))


def _host_and_port(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]
