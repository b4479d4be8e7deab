"""Why a provider doesn't take a batch job, or doesn't finish it, and what that means for its calls."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Any

import httpx
from openai import BadRequestError, OpenAIError

from engine.service.faults import MAX_CHARS, Kind, fault_of


class Obstacle(Enum):
    """What stands in the way of a job."""

    ACCOUNT = auto()
    """No call at all can be made: an empty account, a wrong address."""
    QUEUE = auto()
    """The provider's queue has no room: smaller jobs, later."""
    PASSING = auto()
    """The provider is busy or down."""
    LOCKED = auto()
    """The API key may not use batches, or is invalid."""
    TOO_LARGE = auto()
    """The job is larger than the provider takes: smaller jobs."""
    UNSUPPORTED = auto()
    """The provider or the model takes no jobs."""
    REFUSED = auto()
    """Anything else."""


_QUEUE = re.compile(
    r"enqueued|token_limit_exceeded|\bqueues?\b|\bqueued\b|quota for batch|"
    r"\b(in[_ -]progress|active|running|pending|open|outstanding|concurrent|simultaneous|current|existing)"
    r" (batch|job)|too many (\w{1,30} ){0,2}(batch|job)|"
    r"batch\w{0,20} (\w{1,30} ){0,2}(limit|quota)|(limit|maximum number|quota) (of|for|on) (\w{1,30} ){0,3}(batch|job)",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(
    r"too[ _](large|big|long)|too[ _]many[ _](tasks|lines|requests[ _]in)|(file|payload|entity) size|"
    r"(maximum|max|limit)\w{0,20}( \w{1,30}){0,4} (file|lines|requests per (batch|file|job))|"
    r"size limit|exceeds the size",
    re.IGNORECASE,
)
_UNSUPPORTED = re.compile(
    r"(not|n't|cannot|never) (be )?(currently |yet )?(support|available|implement|enabled)|unsupported|"
    r"(unknown|invalid|unrecognized) (request )?(url|endpoint|route|path)|no batch",
    re.IGNORECASE,
)
_PERMISSION = re.compile(r"permission|scope|api\.(batch|files)|\brole\b|not allowed|forbidden", re.IGNORECASE)
_FILE = re.compile(r"no such file|file\b.{0,80}(not found|does not exist)", re.IGNORECASE)


def obstacle(error: OpenAIError) -> Obstacle:
    """What an error of the provider's batch or files endpoints means."""
    fault, text = fault_of(error), str(error)[:MAX_CHARS]
    status = fault.status
    if _QUEUE.search(text) and status < 500:
        return Obstacle.QUEUE
    if status in (401, 403):
        return Obstacle.LOCKED
    if fault.kind in (Kind.FINAL, Kind.SETUP):
        return Obstacle.ACCOUNT
    if status != 501 and fault.kind in (Kind.LIMIT, Kind.PASSING):
        return Obstacle.PASSING
    if status == 413 or _TOO_LARGE.search(text):
        return Obstacle.TOO_LARGE
    if status in (404, 405, 410, 501):
        return Obstacle.REFUSED if _FILE.search(text) else Obstacle.UNSUPPORTED
    return Obstacle.UNSUPPORTED if _UNSUPPORTED.search(text) else Obstacle.REFUSED


def names_permission(error: OpenAIError) -> bool:
    """Whether an error of status 401 or 403 says that the key is valid, and lacks a permission."""
    return _PERMISSION.search(str(error)) is not None


def failure_of(batch: Any) -> OpenAIError:
    """The error of a job that failed as a whole: what the provider could as well have said to its creation."""
    errors = batch.errors.data if batch.errors is not None else None
    code, message = (errors[0].code, errors[0].message) if errors else (None, None)
    response = httpx.Response(400, request=httpx.Request("POST", "https://batch.invalid"))
    said = f"{message or 'the job failed without a reason'}{f' ({code})' if code else ''}"
    return BadRequestError(said, response=response, body={"code": code, "message": said})
