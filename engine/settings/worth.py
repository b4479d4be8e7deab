"""The table [worth]: your volume and your machine, for what the move is worth."""

from __future__ import annotations

from pydantic import Field

from engine.protocol.limits import MOST_A_MINUTE, MOST_ROWS, MOST_TOKENS, MOST_USD
from engine.settings.table import Table


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
