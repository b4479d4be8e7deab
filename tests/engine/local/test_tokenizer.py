from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.local.resolve import ResolvedModel
from engine.local.tokenizer import load_tokenizer
from engine.protocol.errors import InputError
from engine.settings.local import Local

LOOK = """
import sys
from engine.local import chat, lengths, template_support
assert "transformers" not in sys.modules
from engine.local import tokenizer
print("LOADED", *[name for name in ("peft", "bitsandbytes", "trl", "accelerate") if name in sys.modules])
"""


def test_a_tokenizer_that_cannot_be_loaded_is_an_error_for_the_user(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "never-heard-of"}')
    with pytest.raises(InputError, match="broken: cannot load the tokenizer"):
        load_tokenizer(ResolvedModel("broken", tmp_path, None, ""), Local())


def test_a_tokenizer_is_loaded_without_what_only_weights_need() -> None:
    looked = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert looked.stdout.splitlines()[-1] == "LOADED"
