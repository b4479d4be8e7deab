from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.local.inference.ends import end_tokens, named_ends
from tests.tiny import make_tokenizer

CONFIG = {"eos_token_id": 5}


@pytest.mark.parametrize(
    ("generation", "config", "named"),
    [
        (json.dumps({"eos_token_id": [1, 2]}), CONFIG, [1, 2]),
        (json.dumps({"eos_token_id": 1}), CONFIG, [1]),
        (json.dumps({"do_sample": True}), CONFIG, []),
        ("{", CONFIG, [5]),
        ("[]", CONFIG, [5]),
        (None, CONFIG, [5]),
        (None, {"text_config": {"eos_token_id": [3]}}, [3]),
        (None, {"text_config": None}, []),
        (json.dumps({"eos_token_id": ["2", 3, None]}), CONFIG, [3]),
    ],
)
def test_the_ends_that_a_model_names(
    generation: str | None, config: dict[str, object], named: list[int], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(generation)
    assert named_ends(tmp_path) == named
    assert end_tokens(named_ends(tmp_path), make_tokenizer()) == {*named, 2}
