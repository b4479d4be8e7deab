from pathlib import Path

import pytest

from engine.protocol.paths import cache_dir
from engine.service.cache import cache_file


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LLAMADUO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "llamaduo"
    monkeypatch.setenv("LLAMADUO_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
    assert cache_file() == tmp_path / "own" / "replies.sqlite"
