"""Settings for the form, what the engine's programs say of them, and a run for the review."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import review_run
from form import MODELS, SETTINGS, choice

from engine.protocol import records
from engine.protocol.run_dir import Run
from llamaduo_tui.views import outlook, preflight, presets


@pytest.fixture
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same free memory and prices on every machine."""
    prices = {model.name: (model.input_price, model.output_price) for model in MODELS}
    known = outlook.Facts(prices, {"SmolLM2-135M-Instruct": 135_000_000}, 4 * 2**30)
    monkeypatch.setattr(outlook, "facts", lambda: known)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings in the working folder, so that no screen shows a path of this machine."""
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"Ticket {n}: \x1b[31mred[/] [b]x", "response": f"answer {n}"} for n in range(20)]
    lines = [*map(json.dumps, rows), json.dumps(rows[0]), '{"prompt": "no answer"}', "{broken"]
    Path("rows.jsonl").write_text("\n".join(lines))
    Path("m.toml").write_text(SETTINGS)
    return Path("m.toml")


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Let the pre-flight say this, whatever the settings are."""

    def say(result: dict[str, Any]) -> None:
        command = [sys.executable, "-c", f"print({json.dumps(json.dumps(result))})"]
        monkeypatch.setattr(preflight, "command", lambda file: command)

    return say


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the look at machine and data say this, whatever they are."""
    told = json.dumps(records.to_row(choice()))
    monkeypatch.setattr(presets, "command", lambda: [sys.executable, "-c", f"print({json.dumps(told)})"])


@pytest.fixture
def run(make_run: Callable[..., Run]) -> Run:
    """Two judged rounds for the review."""
    return review_run.rounds(make_run())
