"""What a service's error means: whose trouble it is, whether time can cure it, whether it may be billed, and why."""

from __future__ import annotations

import ast
import json
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import aiohttp
import httpx
from openai import APIConnectionError, APIResponseValidationError, APITimeoutError, OpenAIError

from engine.service.headers import duration, retry_after, seconds_until_reset
from engine.service.models import load_litellm
from engine.service.providers import PROVIDERS

MAX_CHARS = 20_000
"""Characters of an error that are read."""

SHOWN_CHARS = 300

RETRIED_STATUS = (408, 409, 425)
"""Refusals that time cures, besides limits (429)."""

REFUSAL_CODES = {code for provider in PROVIDERS for code in provider.refusal_codes}
"""Litellm knows some of these refusals by their message alone."""

ACCOUNT_CODES = {code for provider in PROVIDERS for code in provider.account_codes}
ACCOUNT_TEXTS = [text for provider in PROVIDERS for text in provider.account_texts]

STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The HTTP status of Anthropic's error types, for errors that come without one."""

TOO_LARGE = re.compile(r"Limit:?\s*(\d+)(?:[^\d]{1,40}Used:?\s*\d+)?[^\d]{1,40}Requested:?\s*(\d+)", re.IGNORECASE)
"""A request that takes more tokens than the limit of a minute: waiting never helps it."""

NO_MODEL = re.compile(
    r"model_not_found|\b(?:models?|deployment)\b.{0,200}(?:not\s+found|not\s+exist|deprecated|decommissioned|retired|no\s+longer)"
    r"|no\s+such\s+model|unknown\s+model|not\s+a\s+valid\s+model|^not_found_error.{0,20}model",
    re.IGNORECASE | re.DOTALL,
)
"""That a model's name is wrong, or that the model has been withdrawn."""

RETRY_IN = re.compile(
    r"(?:retry|again)\s{1,9}(?:in|after)\s{1,9}([\d.]{1,20}(?:[hms\d.]{0,20}|\s?(?:s|ms|m|h))?)\b", re.IGNORECASE
)
PREFIX = re.compile(r"^(?:litellm\.\w+:\s*)?(?:\w*(?:Error|Exception)\s*(?::|-)\s*|\w+Exception \w+ - )*")
TRACEBACK = re.compile(r"\s{0,9}Traceback \(most recent call last\).*", re.DOTALL)
TITLE = re.compile(r"<title>([^<]{1,200})</title>", re.IGNORECASE)
TLS_DETAILS = re.compile(r"\[[^][]*\]|\(_ssl\.c:\d+\)")
HINT_TO_PROGRAMMERS = re.compile(r"\s{0,9}Handle with `[^`]{0,200}`\.?")
HTML = re.compile(r"<(?:!doctype|html|head|body)\b", re.IGNORECASE)
LATE = re.compile(r"EOF|CLOSE_NOTIFY|RECORD_LAYER|shutdown|reset", re.IGNORECASE)
"""TLS errors of a connection that broke; the others are of certificates and versions."""

NAME_UNKNOWN = {getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)}

UNSENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    ssl.SSLCertVerificationError,
    socket.gaierror,
    ConnectionRefusedError,
)
"""Failures before a request is sent."""


class RefusedError(Exception):
    """The service, its filter or its model refuses this one request; others are not concerned."""


class Kind(Enum):
    """Whose trouble a fault is, and what can be done."""

    LIMIT = auto()
    """Too many requests for now: all wait."""
    PASSING = auto()
    """A fault of the server or the network: time may cure it."""
    REQUEST = auto()
    """The service says that it refuses this one request for its content."""
    UNCLEAR = auto()
    """Refused, perhaps because of the request: other calls decide."""
    SETUP = auto()
    """The service cannot be reached as it is set up; once it has replied, time may cure that too."""
    FINAL = auto()
    """Waiting cannot help: the key, the credit, the model's name, the certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error of a call.

    `status` is that of HTTP or of an error object (0: none), `codes` are the machine-readable names in the error
    object, `param` the parameter that it names, `text` its words, untrusted. `timeout` is whether no reply came in
    time, `unsent` whether the call was never sent. `billed` is whether the service may bill the call; `retry_s` the
    pause that it asks for, in seconds; `message` one line for people, which may contain a key: see `secrets`.
    """

    kind: Kind
    status: int
    message: str
    codes: frozenset[str] = frozenset()
    param: str = ""
    text: str = ""
    billed: bool = False
    retry_s: float | None = None
    timeout: bool = False
    unsent: bool = False
    network: bool = False
    """Whether it is a fault on the way to the service, before or after the call was sent."""


def fault_of(error: Exception) -> Fault:
    """The meaning of an error that litellm or the OpenAI client raised."""
    chain = list(_chain(error))
    said = _error_object(chain)
    codes = frozenset(_codes(said))
    http = any(isinstance(cause, httpx.HTTPStatusError) for cause in chain)
    status = _status(error, said, http)
    unsent = any(isinstance(cause, UNSENT) for cause in chain)
    timeout = any(isinstance(cause, APITimeoutError | httpx.TimeoutException | TimeoutError) for cause in chain)
    text = str(said.get("message") or error)[:MAX_CHARS]
    return Fault(
        kind=_kind(error, chain, status, codes, text, answered=not http and not said),
        status=status,
        message=_late(unsent) if timeout and not said else _line(error, chain, said),
        codes=codes,
        param=str(said.get("param") or ""),
        text=text,
        billed=not (http or unsent or said),
        retry_s=_retry_s(error, said, text),
        timeout=timeout and not http,
        unsent=unsent,
        network=unsent or any(map(_cause, chain)),
    )


def error_status(error: OpenAIError) -> int:
    """The HTTP status of an error; 0 for none."""
    return fault_of(error).status


def retry_delay(error: OpenAIError) -> float | None:
    """Seconds until the next try, where the service names them."""
    return fault_of(error).retry_s


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes, the outermost first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _kind(
    error: Exception, chain: list[BaseException], status: int, codes: frozenset[str], text: str, *, answered: bool
) -> Kind:
    """`answered` is whether there was neither an HTTP error nor an error object."""
    if (kind := _network_kind(chain)) is not None:
        return kind
    exceptions = load_litellm().exceptions
    if isinstance(error, exceptions.ContextWindowExceededError | exceptions.ContentPolicyViolationError):
        return Kind.REQUEST
    if codes & REFUSAL_CODES:
        return Kind.REQUEST
    if status in (401, 402) or of_account(codes, text):
        return Kind.FINAL
    if status == 404 and NO_MODEL.search(f"{' '.join(codes)} {text}"):
        return Kind.FINAL
    if (size := TOO_LARGE.search(text)) and int(size[2]) > int(size[1]):
        return Kind.REQUEST
    if status == 429:
        return Kind.LIMIT
    # litellm gives 422 also to a response of Gemini's that it cannot read.
    if status in RETRIED_STATUS or status >= 500 or (status == 422 and answered):
        return Kind.PASSING
    if isinstance(error, APIConnectionError | APIResponseValidationError):
        return Kind.PASSING
    # An error in a whole response, without a status: the service had accepted the request.
    return Kind.UNCLEAR if status else Kind.PASSING


def of_account(codes: frozenset[str], text: str) -> bool:
    """Whether an error says that the account can do nothing until a person acts."""
    return bool(codes & ACCOUNT_CODES) or any(known in text for known in ACCOUNT_TEXTS)


def _network_kind(chain: list[BaseException]) -> Kind | None:
    """The kind of a fault on the way to the service; None where it was reached."""
    for cause in reversed(chain):
        if isinstance(cause, ssl.SSLError):
            return Kind.PASSING if LATE.search(str(cause)) else Kind.FINAL
        if isinstance(cause, socket.gaierror):
            return Kind.SETUP if cause.errno in NAME_UNKNOWN else Kind.PASSING
        if isinstance(cause, aiohttp.ClientHttpProxyError):
            return Kind.FINAL if cause.status == 407 else Kind.SETUP if cause.status < 500 else Kind.PASSING
        if isinstance(cause, httpx.UnsupportedProtocol | aiohttp.InvalidURL):
            return Kind.FINAL
        if isinstance(cause, UNSENT):
            return Kind.PASSING
    return None


def _status(error: Exception, said: dict[str, Any], http: bool) -> int:
    """The HTTP status; of an error object in a response with status 200, the status that it stands for."""
    given = str(getattr(error, "status_code", None))
    status = int(given) if given.isdigit() else 0  # litellm may put a code's name there
    if http or not said:
        return status
    code = said.get("code")
    if isinstance(code, str) and code.isdigit():
        code = int(code)
    if isinstance(code, int) and 400 <= code < 600:
        return code
    return STATUS_OF_TYPE.get(str(said.get("type")), status)


def _error_object(chain: list[BaseException]) -> dict[str, Any]:
    """The error object that a service sent, in any of the usual forms; {} for none."""
    for cause in chain:
        body = getattr(cause, "body", None)
        if isinstance(body, dict) and (found := _as_error(body)):
            return found
    for cause in chain:
        for value in _objects(str(cause)[:MAX_CHARS]):
            if found := _as_error(value):
                return found
    status = getattr(chain[0], "status_code", None)
    if isinstance(chain[-1], Exception) and type(chain[-1]) is Exception and status:
        return {"code": status, "message": str(getattr(chain[-1], "message", "") or _without_prefix(str(chain[0])))}
    return {}


def _objects(text: str) -> Iterator[Any]:
    """The first JSON object, or Python dict, in a text."""
    start = text.find("{")
    if start < 0:
        return
    with suppress(ValueError, RecursionError):
        yield json.JSONDecoder(strict=False).raw_decode(text, start)[0]
        return
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        yield ast.literal_eval(text[start : text.rfind("}") + 1])


def _as_error(value: Any) -> dict[str, Any]:
    """An error object out of a body: OpenAI's, Anthropic's, Google's, Ollama's, Mistral's, vLLM's or FastAPI's."""
    if not isinstance(value, dict):
        return {}
    inner = value.get("error")
    if isinstance(inner, dict):
        return _with_upstream(inner)
    if isinstance(inner, str) and inner:
        return {"message": inner}
    if isinstance(value.get("detail"), str):
        return {"message": value["detail"]}
    if isinstance(details := value.get("detail"), list) and details and isinstance(details[0], dict):
        where = [str(part) for part in details[0].get("loc") or ()]
        return {"message": f"{'.'.join(where)}: {details[0].get('msg', '')}", "param": where[-1] if where else ""}
    if isinstance(value.get("message"), str) and ({"code", "type", "object"} & value.keys()):
        return value
    return {}


def _with_upstream(said: dict[str, Any]) -> dict[str, Any]:
    """An error object of OpenRouter's with the words of the provider behind it."""
    metadata = said.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if not isinstance(raw, str) or not raw.strip():
        return said
    behind = next((found for value in _objects(raw) if (found := _as_error(value))), {})
    return {**said, "message": f"{said.get('message') or ''}: {behind.get('message') or raw}"}


def _codes(value: Any, depth: int = 0) -> Iterator[str]:
    """The machine-readable names in an error object."""
    if depth > 6:
        return
    if isinstance(value, list):
        for inner in value[:50]:
            yield from _codes(inner, depth + 1)
    for key, inner in value.items() if isinstance(value, dict) else ():
        if key in ("code", "type", "status", "reason") and isinstance(inner, str):
            yield inner
        elif isinstance(inner, dict | list):
            yield from _codes(inner, depth + 1)


def _retry_s(error: Exception, said: dict[str, Any], text: str) -> float | None:
    headers = getattr(error, "litellm_response_headers", None) or {}
    if in_headers := retry_after(headers) or seconds_until_reset(headers, ("requests", "tokens")):
        return in_headers
    details = said.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and (named := duration(str(detail.get("retryDelay", "")))):
            return named
    in_text = RETRY_IN.search(text)
    return duration(in_text[1].replace(" ", "").rstrip(".")) or None if in_text else None


def _line(error: Exception, chain: list[BaseException], said: dict[str, Any]) -> str:
    """One line on why a call failed: the service's own words, else the bottom of the chain."""
    if message := said.get("message"):
        line = str(message)
    else:
        line = next((words for cause in reversed(chain) if (words := _cause(cause))), "") or str(error)
    return _plain(line)


def _late(unsent: bool) -> str:
    return "no connection in time" if unsent else "no complete reply in time"


def _cause(cause: BaseException) -> str:
    """The words for a failure below HTTP; "" for other errors."""
    match cause:
        case ssl.SSLCertVerificationError():
            return f"TLS: the certificate is not trusted: {cause.verify_message}"
        case ssl.SSLError():
            reason = TLS_DETAILS.sub("", str(cause)).strip()
            return f"TLS: {reason}" + "; the address may need http://" * ("WRONG_VERSION" in str(cause))
        case socket.gaierror():
            return f"the host's name is not found: {cause.strerror}"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answers {cause.status} {cause.message}"
        case httpx.UnsupportedProtocol() | aiohttp.InvalidURL():
            return f"invalid address: {cause}"
        case ConnectionRefusedError():
            return f"connection refused: {cause.strerror}"
        case ConnectionResetError() | BrokenPipeError():
            return "the connection was reset"
        case aiohttp.ClientConnectorError():
            return f"cannot connect to {cause.host}: {cause.os_error}"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | httpx.RemoteProtocolError():
            return f"the connection broke off: {cause}"
        case _:
            return ""


def _plain(text: str) -> str:
    """An error text in one line: of a page its title, and no traceback."""
    text = text[:MAX_CHARS]
    if HTML.search(text):
        title = TITLE.search(text)
        before = _without_prefix(text[: HTML.search(text).start()]).strip(" -:")  # type: ignore[union-attr]
        text = f"{before}: " * bool(before) + (f"a page titled {title[1].strip()!r}" if title else "an HTML page")
    text = HINT_TO_PROGRAMMERS.sub("", TRACEBACK.sub("", text))
    return " ".join(_without_prefix(text).split())[:SHOWN_CHARS]


def _without_prefix(text: str) -> str:
    """litellm's text without the names of classes before it."""
    return PREFIX.sub("", text.strip(), count=1) or text
