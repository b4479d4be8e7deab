"""The table [takeover]: the door through which the local model takes over."""

from __future__ import annotations

from pydantic import Field

from engine.protocol.limits import MOST_USD
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
