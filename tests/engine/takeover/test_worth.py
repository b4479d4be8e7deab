"""The program behind `worth`: what is given is kept, and what is no number is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.protocol.errors import InputError
from engine.protocol.run_dir import Run, create
from engine.protocol.worth import Given, read_given
from engine.takeover.worth import changed, main

SETTINGS = """
[coverage]
source = "x.jsonl"
[service]
model = "openai/gpt-big"
input_price = 2.5
output_price = 10
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(tmp_path, "demo", SETTINGS)


def test_what_is_given_is_kept_and_counted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--requests-per-day=1000", "--input-tokens=500", "--output-tokens=100", "--box-usd-per-hour=0.05"]
    assert main([str(run.folder), *options, "--tokens-per-second=50", "--share=50"]) == 0
    said = capsys.readouterr().out
    assert "service, 1,000 requests  $2.25" in said
    assert "given by `worth`" in said and "litellm" not in said
    assert "migration so far         unknown" in said, "nobody knows what a run without a ledger has paid"
    assert read_given(run) == Given(
        requests_per_day=1000,
        input_tokens=500,
        output_tokens=100,
        box_usd_per_hour=0.05,
        tokens_per_second=50,
        share=0.5,
    )
    assert main([str(run.folder), "--share=unset", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["worth"]["saved_per_day"] == pytest.approx(2.25 - 1.2)
    assert told["worth"]["cost_usd"] is None and told["worth"]["break_even"] is None
    assert told["assumptions"]["share"]["source"].startswith("assumed")


@pytest.mark.parametrize(
    ("name", "text"),
    [("share", "101"), ("share", "0"), ("requests_per_day", "nan"), ("box_usd_per_hour", "-1"), ("input_tokens", "x")],
)
def test_what_is_no_number_is_refused(name: str, text: str) -> None:
    with pytest.raises(InputError, match="not a number") as error:
        changed(Given(), {name: text})
    assert "unset" in error.value.hint


def test_a_refused_number_changes_nothing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run.folder), "--share=200"]) == 2
    assert "hint:" in capsys.readouterr().err
    assert read_given(run) == Given()
