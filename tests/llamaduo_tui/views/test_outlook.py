"""What settings mean for the data and the machine: each thing once, and what a field decides is marked."""

from __future__ import annotations

from engine.preflight.report import Profile, SamplePair
from engine.settings.schema import Migration
from llamaduo_tui.views.outlook import Outlook


def outlook(budget: float | None = None) -> Outlook:
    settings = Migration.model_validate(
        {"coverage": {"source": "a.jsonl"}, "service": {"model": "gpt-4o", "budget_usd": budget}}
    )
    profile = Profile(
        sources=("a.jsonl",), formats={}, rows=160, used=160, dropped=0, duplicates=0, reasons=(), notes={},
        concerns=(), train=40, dev=64, test=56, dev_units=64, test_units=56, unit="prompt", exact=True,
        samples=(SamplePair(prompt="a", response="b"),), read_bytes=9, total_bytes=9, prompt_tokens=40.0,
        response_tokens=20.0, lengths=(40, 60, 96),
    )  # fmt: skip
    return Outlook(settings=settings, profile=profile, prices={"gpt-4o": (2.5, 10.0)})


def test_each_thing_is_told_once_and_what_the_field_decides_is_marked() -> None:
    told = outlook().meanings("finetune.epochs")
    assert [one.name for one in told if one.decided] == ["training"]
    assert len({one.text for one in told}) == len(told), "without a budget the total stands for both"
    assert {"data", "sealed test", "lengths", "judging", "new pairs", "service"} <= {one.name for one in told}
    assert "budget" not in {one.name for one in told}
    assert [one.name for one in outlook(5.0).meanings("service.budget_usd") if one.decided] == ["budget"]
    assert Outlook().meanings() == []
