"""The tables [takeover] and [worth]: the door through which the local model takes over, and what the move is worth."""

from __future__ import annotations

from pydantic import Field

from engine.protocol.limits import MOST_A_MINUTE, MOST_ROWS, MOST_TOKENS, MOST_USD
from engine.settings.table import Address, Table, Variable


class Takeover(Table):
    """The door through which the local model takes over: `llamaduo-tui takeover RUN`."""

    host: str = Field("127.0.0.1", description="Address to listen on; anything but this machine's own needs key_env.")
    port: int = Field(8790, ge=0, le=65535, description="Port of the door; 0: any free one.")
    key_env: Variable = Field(
        None, description="Name of the environment variable with the key that clients of the door must show."
    )
    local: Address = Field(
        None, description="Address of the local model's server, if another one than `serve` starts (http://.../v1)."
    )
    local_key_env: Variable = Field(
        None, description="Name of the environment variable with the key of the server at `local`."
    )
    timeout_s: float = Field(
        60.0, gt=0, le=3600, description="Seconds until an answer begins, before the other side is asked."
    )
    compare: float = Field(
        0.2, ge=0, le=1, description="Share of requests whose two answers are compared, in shadow and canary."
    )
    margin: float = Field(
        2.0, ge=0.1, le=50, description="Points that the local model's answers may be worse, before a roll-back."
    )
    budget_usd: float | None = Field(
        10.0, ge=0, le=MOST_USD, description="Maximum cost of the judge in the comparisons, in USD; not set: no cap."
    )
    contents: bool = Field(
        False, description="Keep requests and answers in the journal, for collect; they stay on this machine."
    )


class Worth(Table):
    """What the move is worth: your volume and your machine, for `llamaduo-tui worth RUN` and the report."""

    requests_per_day: float | None = Field(
        None,
        gt=0,
        le=MOST_ROWS,
        description="Requests a day; not set: by the dates of the coverage data, if it has any.",
    )
    input_tokens: float | None = Field(
        None, gt=0, le=MOST_TOKENS, description="Mean input tokens of a request; not set: as in the data."
    )
    output_tokens: float | None = Field(
        None, gt=0, le=MOST_TOKENS, description="Mean output tokens of a request; not set: as in the data."
    )
    box_usd_per_hour: float | None = Field(
        None, ge=0, le=MOST_USD, description="What the machine of the local model costs an hour, in USD."
    )
    box_hours_per_day: float = Field(
        24.0, ge=0, le=24, description="Hours a day that the machine is paid; 0: only those in which it works."
    )
    tokens_per_second: float | None = Field(
        None,
        gt=0,
        le=MOST_A_MINUTE,
        description="Output tokens a second of the local model, over all requests at once; not set: as measured.",
    )
    share: float | None = Field(
        None, gt=0, le=1, description="Share of the requests that moves; not set: what the run shows may move."
    )
