from __future__ import annotations

from pathlib import Path

import pytest

from engine.local.adaptation import NO_SYSTEM
from engine.local.chat import sample_text
from engine.local.resolve import ResolvedModel
from engine.protocol.rows import Message, Pair
from engine.settings.schema import Migration
from engine.stages.local_model import misfits
from tests.engine.local.templates import GEMMA
from tests.tiny import make_tokenizer

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
