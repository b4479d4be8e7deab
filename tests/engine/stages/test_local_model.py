from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from engine.local.adaptation import NO_SYSTEM
from engine.local.chat import render_prompt, sample_text
from engine.local.resolve import ResolvedModel
from engine.local.tokenizer import load_tokenizer
from engine.protocol.rows import Message, Pair
from engine.protocol.run_dir import Run
from engine.settings.schema import Migration
from engine.stages.local_model import local_model, misfits
from tests.engine.local.templates import GEMMA
from tests.tiny import CHATML, make_tokenizer

SETTINGS = Migration.model_validate({"coverage": {"source": "a.jsonl"}, "service": {"model": "sandbox"}})
USER: Message = {"role": "user", "content": "Where is it?"}
ANSWER: Message = {"role": "assistant", "content": "In Graz."}
PLAIN = Pair(id="p", messages=[USER, ANSWER])
INSTRUCTED = Pair(id="i", messages=[{"role": "system", "content": "Be brief."}, USER, ANSWER])


def test_the_model_is_found_only_for_pairs_that_need_it() -> None:
    def resolved() -> ResolvedModel:
        raise LookupError

    unsupported = misfits(SETTINGS, resolved)
    assert unsupported(PLAIN) == ""
    assert not unsupported.notes
    with pytest.raises(LookupError):
        unsupported(INSTRUCTED)


def test_the_tokenizer_is_loaded_once_and_changes_are_counted(tmp_path: Path) -> None:
    make_tokenizer(GEMMA).save_pretrained(tmp_path)
    found: list[int] = []

    def resolved() -> ResolvedModel:
        found.append(1)
        return ResolvedModel("gemma", tmp_path, None, "0" * 16)

    unsupported = misfits(SETTINGS, resolved)
    assert [unsupported(pair) for pair in (INSTRUCTED, PLAIN, INSTRUCTED)] == ["", "", ""]
    assert unsupported.notes == {NO_SYSTEM: 2}
    assert sample_text(unsupported.tokenizer, PLAIN).endswith("<start_of_turn>model\nIn Graz.<|im_end|>")
    assert len(found) == 1


class Tomorrow(date):
    @classmethod
    def today(cls) -> Tomorrow:
        return cls(2031, 5, 6)


@pytest.mark.parametrize("written_by_an_older_version", [False, True])
def test_a_run_that_goes_on_tomorrow_shows_its_model_the_same_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_by_an_older_version: bool
) -> None:
    make_tokenizer("{{ strftime_now('%d %b %Y') }}" + CHATML).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr("engine.stages.local_model.usable_checkpoint", lambda *_: None)
    run, local = Run(tmp_path / "run"), {"model": str(tmp_path / "model")}
    run.folder.mkdir()
    settings = SETTINGS.model_copy(update={"local": SETTINGS.local.model_validate(local)})

    def shown() -> str:
        resolved = local_model(run, settings, lambda _: None)
        return render_prompt(load_tokenizer(resolved, settings.local), [USER])

    first = shown()
    assert first.startswith(date.today().strftime("%d %b %Y"))
    pinned = json.loads(run.model_file.read_text())
    assert pinned["day"] == date.today().isoformat()
    if written_by_an_older_version:
        run.model_file.write_text(json.dumps({name: pinned[name] for name in ("revision", "digest")}))
    for module in ("engine.stages.local_model", "engine.local.tokenizer", "engine.local.rendering"):
        monkeypatch.setattr(f"{module}.date", Tomorrow)
    assert shown() == first
