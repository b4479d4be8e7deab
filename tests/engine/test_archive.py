"""One file has everything that verifies elsewhere, and no key."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.archive import archive
from engine.protocol.errors import InputError
from engine.protocol.run_dir import Run
from engine.protocol.status import Process, State
from engine.verify.verification import verify


@pytest.mark.parametrize("name", ["demo.tar", "demo.tar.gz"])
def test_an_archive_verifies_elsewhere(finished: Run, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    count = archive(finished, file)
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as tar:
        assert len(tar.getnames()) == count and "mini/lock" not in tar.getnames()
        assert {entry.uname for entry in tar} == {""}
        tar.extractall(tmp_path / "elsewhere", filter="data")
    assert verify(Run(tmp_path / "elsewhere" / "mini")).holds
    with pytest.raises(InputError, match="already exists"):
        archive(finished, file)


def test_an_archive_is_named_as_what_it_is(finished: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a tar file"):
        archive(finished, tmp_path / "demo.zip")
    assert not list(tmp_path.glob("*demo*"))


def test_a_key_is_never_archived(finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = finished.settings_file
    settings.write_text(settings.read_text().replace("cache = false", 'cache = false\napi_key_env = "MY_KEY"'))
    monkeypatch.setenv("MY_KEY", "sk-0123456789")
    with finished.log_file.open("a") as log:
        log.write("x" * (2**20 - 4) + "sk-0123456789")
    with pytest.raises(InputError, match=r"worker\.log contains the value of an API key"):
        archive(finished, tmp_path / "demo.tar")
    assert not list(tmp_path.glob("*.tar*"))


def test_a_run_at_work_is_not_archived(finished: Run, tmp_path: Path) -> None:
    here = replace(Process.of(1), pid=1)
    finished.write_status(replace(finished.status(), state=State.WAITING, process=here))
    with pytest.raises(InputError, match="still change"):
        archive(finished, tmp_path / "demo.tar")
