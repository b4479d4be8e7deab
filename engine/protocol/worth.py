"""What people say of their volume and of their machine: RUN/takeover/worth.json, over the settings' table [worth]."""

from __future__ import annotations

import msgspec

from engine.protocol import jsonl, records
from engine.protocol.errors import damaged_as
from engine.protocol.run_dir import Run
from engine.protocol.takeover import files

FILE = "worth.json"


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """Assumptions that somebody set, each None where nobody did.

    `requests_per_day` are those that the service answers before the move; `share` of them, 0 to 1, is moved. Tokens are
    means a request, prices USD for a million of them. The box of the local model costs `box_usd_per_hour`, for
    `box_hours_per_day`, where 0 stands for the hours in which it works; it writes `tokens_per_second`.
    """

    requests_per_day: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    input_price: float | None = None
    output_price: float | None = None
    box_usd_per_hour: float | None = None
    box_hours_per_day: float | None = None
    tokens_per_second: float | None = None
    share: float | None = None


def read_given(run: Run) -> Given:
    """What was set by command; nothing where nobody did. Raises DamagedError."""
    path = files(run.folder).folder / FILE
    row = jsonl.read_json(path)
    with damaged_as(path):
        return Given() if row is None else records.build(Given, row)


def write_given(run: Run, given: Given) -> None:
    """Keep it for the next time, for the run's owner alone."""
    folder = files(run.folder).folder
    folder.mkdir(mode=0o700, exist_ok=True)
    jsonl.write_json(folder / FILE, records.to_row(given), mode=0o600)
