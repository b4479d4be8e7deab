"""Each preset is whole and valid, and sane for a few hundred pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.protocol.errors import InputError
from engine.settings import preset, template
from engine.settings.load import load_settings
from engine.settings.local import Finetune
from engine.settings.schema import Migration
from engine.settings.source import HUB_ID

PAPER = {"gemma-2b", "gemma-7b", "mistral-7b", "llama-3-8b", "llama-3.2-1b", "llama-3.2-3b"}
TODAY = {
    *("gemma-3-270m", "gemma-3-1b", "gemma-3-4b", "qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-8b"),
    *("llama-3.2-1b-instruct", "llama-3.2-3b-instruct", "smollm2-135m", "smollm2-360m", "smollm2-1.7b", "smollm3-3b"),
    *("phi-4-mini", "granite-4-micro", "lfm2-350m", "lfm2-700m", "lfm2-1.2b"),
}


def test_the_paper_s_models_are_marked_and_come_last() -> None:
    assert set(preset.names()) == PAPER | TODAY
    found = preset.load_all()
    assert [item.name in PAPER for item in found] == [False] * len(TODAY) + [True] * len(PAPER)
    assert all(("paper, base model" in item.about.label) == (item.name in PAPER) for item in found)
    assert [item.about.parameters for item in found[: len(TODAY)]] == sorted(
        item.about.parameters for item in found[: len(TODAY)]
    )


@pytest.mark.parametrize("name", sorted(PAPER | TODAY))
def test_a_preset_is_whole_and_sane(name: str, tmp_path: Path) -> None:
    found = preset.load(name)
    assert _keys(found.values) == _keys(preset.load("smollm2-135m").values)  # so that one replaces another whole
    file = tmp_path / "migration.toml"
    file.write_text(template.render(preset=found.values))
    settings: Migration = load_settings(file)
    assert settings.local.adapter.alpha == 2 * settings.local.adapter.r
    assert found.name == "smollm2-135m" or HUB_ID.fullmatch(found.model)
    assert (settings.local.quantization == "nf4") == (found.about.parameters > 5e9)
    assert Finetune().max_length <= settings.finetune.max_length <= found.about.context
    assert settings.finetune.max_length + settings.inference.max_new_tokens <= found.about.context
    assert found.about.licence and found.about.languages
    assert found.about.gated == ("Gated" in _comment(name))


def _keys(values: dict[str, Any], path: str = "") -> set[str]:
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    inner = [_keys(value, f"{path}{name}.") for name, value in tables.items()]
    return {f"{path}{name}" for name in values.keys() - tables.keys()}.union(*inner)


def _comment(name: str) -> str:
    lines = (Path(preset.__file__).parent / "presets" / f"{name}.toml").read_text().splitlines()
    return " ".join(line for line in lines if line.startswith("#"))


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown preset 'qwen-3-4b'") as caught:
        preset.load("qwen-3-4b")
    assert caught.value.hint.startswith("did you mean 'qwen3-4b'?")
