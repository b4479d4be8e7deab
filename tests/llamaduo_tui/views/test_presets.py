"""What the list of presets says of each, and how it gets it."""

from __future__ import annotations

import json
import sys

import pytest

from engine.preflight.report import ModelAdvice, ModelChoice
from engine.protocol import records
from engine.protocol.errors import InputError
from engine.settings import preset
from engine.settings.schema import Coverage
from llamaduo_tui.views import presets

FOUND = ModelAdvice(
    name="a", model="b/a", title="A", licence="MIT", gated=False, parameters=1, context=2, tools="full", spoken="en",
    training_bytes=3, nf4_bytes=4, answering_bytes=5, advice="slow", reason="a round takes \x1b[31m2 h",
)  # fmt: skip


def test_a_preset_is_told_in_a_line() -> None:
    about = {name: presets.about(preset.load(name)) for name in ("gemma-2b", "lfm2-350m")}
    assert about == {
        "gemma-2b": "paper, base model · 2.5B · Gemma Terms of Use, gated · 8k tokens · en · no tools",
        "lfm2-350m": "354M · LFM Open License v1.0 · 32k tokens · 8 languages · tool definitions",
    }
    assert presets.verdict(FOUND) == "slow: a round takes ␛[31m2 h"


async def test_the_coverage_goes_in_and_the_choice_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    told = json.dumps(records.to_row(ModelChoice(machine="A box", data="", models=(FOUND,))))
    code = f"import json, sys; assert json.load(sys.stdin)['source'] == 'a.jsonl'; print({json.dumps(told)})"
    monkeypatch.setattr(presets, "command", lambda: [sys.executable, "-c", code])
    assert (await presets.read_choice(Coverage(source="a.jsonl"))).models == (FOUND,)


async def test_a_look_that_fails_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "command", lambda: [sys.executable, "-c", "raise SystemExit('no memory')"])
    with pytest.raises(InputError, match="the machine could not be looked at: no memory"):
        await presets.read_choice(None)
