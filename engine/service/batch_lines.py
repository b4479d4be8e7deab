"""The lines of a batch job's files: a request a line on the way there, a response a line on the way back.

Nothing on the way back is trusted: a line that cannot be read, that names another request, or that holds an error is no
completion.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from engine.service.completion import Completion, Request
from engine.service.faults import RETRIED_STATUS
from engine.service.litellm_adapter import completion_of, provider_body

ENDPOINT = "/v1/chat/completions"

PASSING_STATUS = (*RETRIED_STATUS, 429)
"""The statuses below 500 that say nothing about the request itself."""


class _Function(BaseModel):
    name: str
    arguments: str


class _Call(BaseModel):
    function: _Function


class _Message(BaseModel):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None
    refusal: str | None = None

    @property
    def provider_specific_fields(self) -> dict[str, str | None]:
        """Where litellm keeps a refusal."""
        return {"refusal": self.refusal}


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    error: Any = None

    @property
    def provider_specific_fields(self) -> dict[str, Any]:
        """Where litellm keeps what OpenAI's form does not have."""
        return {"error": self.error, "native_finish_reason": self.native_finish_reason}


Count = Annotated[int, BeforeValidator(lambda count: count if isinstance(count, int) else 0)]
"""A number of tokens; 0 where it is missing or none."""


class _Usage(BaseModel):
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    total_tokens: Count = 0
    cost: Any = None


class _Body(BaseModel):
    """A chat completion, with the fields that are read; one with an error in it is invalid, whatever its status."""

    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: Annotated[_Usage, BeforeValidator(lambda usage: usage if isinstance(usage, dict) else {})] = _Usage()
    model: str | None = None
    system_fingerprint: str | None = None
    error: Annotated[None, BeforeValidator(lambda error: error or None)] = None


class _Response(BaseModel):
    status_code: int
    body: Any = None


class _Line(BaseModel):
    """The fields of a line of a job's output or of its errors that are read."""

    custom_id: str
    response: Annotated[_Response | None, BeforeValidator(lambda response: response or None)] = None
    error: Any = None


@dataclass(slots=True)
class Results:
    """What a job's files hold: completions by key, and the keys of requests that the provider refuses themselves."""

    completions: dict[str, Completion] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    problem: str = ""
    """The first error, in the provider's words."""

    def read(self, content: bytes, requests: dict[str, Request], prices: tuple[float, float] | None) -> None:
        """Add the lines of a file, at USD for one input and one output token of a batch (None: unknown)."""
        for text in content.splitlines():
            try:
                line = _Line.model_validate_json(text)
            except ValidationError:
                continue  # its request stays open
            key, response = line.custom_id, line.response
            if key not in requests:
                continue
            if line.error or response is None:
                self._note_problem(line.error)
            elif response.status_code == 200:
                self._add(key, response.body, requests[key], prices)
            else:
                self._note_problem(response.body)
                if 400 <= response.status_code < 500 and response.status_code not in PASSING_STATUS:
                    self.refused.add(key)
        self.refused -= self.completions.keys()

    def _add(self, key: str, body: Any, request: Request, prices: tuple[float, float] | None) -> None:
        try:
            self.completions[key] = completion_of(_Body.model_validate(body), request, prices)
        except ValidationError:
            self._note_problem(body)

    def _note_problem(self, said: Any) -> None:
        """Keep the message of an error, or of a body that has one."""
        for name in ("error", "message"):
            if isinstance(said, dict) and said.get(name):
                said = said[name]
        if isinstance(said, str) and not self.problem:
            self.problem = said[:300]


def request_line(request: Request) -> bytes:
    """A request as a line of a job's input, under its digest."""
    line = {"custom_id": request.digest, "method": "POST", "url": ENDPOINT, "body": provider_body(request)}
    return json.dumps(line).encode() + b"\n"
