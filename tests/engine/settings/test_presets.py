from __future__ import annotations

from pathlib import Path

import pytest
import tomli

import engine
from engine.settings.schema import Migration

PRESETS = sorted((Path(engine.__file__).parent / "settings" / "presets").glob("*.toml"))


def test_every_model_of_the_paper_has_a_preset() -> None:
    models = {"gemma-2b", "gemma-7b", "mistral-7b", "llama-3-8b", "llama-3.2-1b", "llama-3.2-3b"}
    assert {path.stem for path in PRESETS} >= {"smollm2-135m", *models}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_is_whole_and_valid(path: Path) -> None:
    tables = tomli.loads(path.read_text(encoding="utf-8"))
    assert tables.keys() == {"local", "finetune", "inference"}
    settings = Migration.model_validate({"coverage": {"source": "-"}, "service": {"model": "sandbox"}, **tables})
    assert settings.local.adapter.alpha == 2 * settings.local.adapter.r
