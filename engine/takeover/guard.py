"""Who may come in: the key, the host, the path. What is refused here reaches neither side."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from aiohttp import web

from engine.protocol.loopback import of_web_page, to_own_host

PATH = re.compile(r"/v1/[A-Za-z0-9_\-./:~@%]*")
_CLIENT_ID = re.compile(r"[\x21-\x7e]{1,100}")


class Refused(Exception):  # noqa: N818 - it is a reply
    """A request that is not let in: a status and what the client is told."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True, slots=True)
class Guard:
    """`key` is what a client must show, "" where none is asked for; then only this machine's own programs come in."""

    key: str = field(repr=False)

    def admit(self, request: web.Request) -> None:
        """Raise Refused unless the request may come in.

        Without a key a web page must not come in either: a browser names the page in Origin, and a page that has
        another address point here (DNS rebinding) is shown by Host.
        """
        if self.key:
            if not hmac.compare_digest(_shown(request).encode("utf-8", "replace"), self.key.encode()):
                raise Refused(401, "Incorrect API key for this door.", "invalid_api_key")
            return
        if of_web_page(request.headers):
            raise Refused(403, "Web pages may not use this door.", "forbidden_origin")
        if not to_own_host(request.headers):
            raise Refused(403, "This door answers to its own address alone.", "forbidden_host")


def path_of(request: web.Request) -> str:
    """The path behind /v1 with the query, as it came. Raises Refused for one that may lead elsewhere."""
    raw, _, query = request.raw_path.partition("?")
    plain = unquote(raw)
    tricky = ".." in plain or "//" in plain or "\\" in plain or "%" in plain or any(c < " " for c in plain)
    if tricky or not PATH.fullmatch(raw) or "%2f" in raw.lower() or not query.isascii():
        raise Refused(404, "Unknown path.", "unknown_url")
    return raw.removeprefix("/v1") + (f"?{query}" if query else "")


def client_id(request: web.Request) -> str:
    """The id that a client gives its request, "" where it has none that can be kept."""
    given = request.headers.get("X-Client-Request-Id", "")
    return given if _CLIENT_ID.fullmatch(given) else ""


def _shown(request: web.Request) -> str:
    """The key that a client shows."""
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if kind.lower() == "bearer" else request.headers.get("api-key", "")
