"""GGUF needs an extra."""

from __future__ import annotations

import importlib.util

import pytest

from engine.protocol.errors import InputError
from engine.release.formats.gguf import Gguf
from engine.release.source import Source

INSTALLED = all(importlib.util.find_spec(name) for name in ("llama_cpp", "xllamacpp", "cyllama"))


@pytest.mark.skipif(INSTALLED, reason="the extra [gguf] is installed")
def test_without_the_extra_it_is_refused_with_the_command_that_installs_it(source: Source) -> None:
    with pytest.raises(InputError, match="GGUF files need the converter") as error:
        Gguf("q8_0").refuse(source)
    assert error.value.hint == "pip install 'llamaduo-tui[gguf]'"
