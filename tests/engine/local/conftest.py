"""The tiny model, resolved, and its tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from engine.local.resolve import ResolvedModel, resolve
from engine.local.tokenizer import load_tokenizer
from engine.protocol.paths import cache_dir
from engine.settings.local import Local
from tests.tiny import make_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    folder: Path = tmp_path_factory.mktemp("tiny")
    make_model(folder)
    return ResolvedModel("tiny", folder, None, "0" * 16)


@pytest.fixture(scope="session")
def real_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of the demo's model."""
    resolved = resolve(Local().model, None, cache_dir(), print)
    tokenizer = load_tokenizer(resolved, Local())
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return tokenizer


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny: ResolvedModel) -> PreTrainedTokenizerFast:
    tokenizer = load_tokenizer(tiny, Local())
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return tokenizer
