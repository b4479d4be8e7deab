"""Who may come in: the key, the host, the path. What is refused here reaches neither side."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field

from aiohttp import web

from engine.protocol.loopback import of_web_page, to_own_host

PASSED = {
    "POST": re.compile(r"/v1/(?:chat/completions|completions|embeddings|responses)"),
    "GET": re.compile(r"/v1/models(?:/[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,199})?"),
}
"""What clients may ask of the service with the door's key, by method: answers, and the names of models.

Nothing else: the same key lists, reads and deletes what the account has stored, such as files, batches and responses,
and starts trainings. A path is written as here: with nothing encoded, no part twice, no way up.
"""

PASSED["HEAD"] = PASSED["GET"]

NAMES = "chat/completions, completions, embeddings, responses and models"

_QUERY = re.compile(r"[!-~]*")
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
    """The path behind /v1 with the query, as it came. Raises Refused for one that is not passed on."""
    raw, _, query = request.raw_path.partition("?")
    known = PASSED.get(request.method)
    if known is None or not known.fullmatch(raw) or not _QUERY.fullmatch(query):
        raise not_passed(request)
    return raw.removeprefix("/v1") + (f"?{query}" if query else "")


def not_passed(request: web.Request) -> Refused:
    """The refusal of a path or a method that no client may use."""
    shown = request.raw_path.partition("?")[0][:100]
    said = f"Unknown request URL: {request.method} {shown}. This door passes on /v1/ with {NAMES}."
    return Refused(404, f"{said} For anything else ask the service itself, with a key of your own.", "unknown_url")


def client_id(request: web.Request) -> str:
    """The id that a client gives its request, "" where it has none that can be kept."""
    given = request.headers.get("X-Client-Request-Id", "")
    return given if _CLIENT_ID.fullmatch(given) else ""


def _shown(request: web.Request) -> str:
    """The key that a client shows."""
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if kind.lower() == "bearer" else request.headers.get("api-key", "")
