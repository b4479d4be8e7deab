"""What a release, a server, a take-over and a drill start: each for real, but for the module that then runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.protocol import isolation, jsonl
from engine.protocol.errors import LlamaDuoError, StageError
from engine.protocol.run_dir import Run
from engine.protocol.takeover import DoorSettings, Mode, files
from engine.release.formats import gguf
from engine.settings.load import load_settings, settings_of
from engine.takeover import drill, keeper
from engine.takeover.setup import begin
from llamaduo_tui.control import launch, release, takeover

SETTINGS = """
[coverage]
source = "rows.jsonl"
[service]
model = "openai/gpt-4o"
api_key_env = "MY_LOGIN"
[takeover]
key_env = "DOORPASS"
"""
SECRETS = {
    "MY_LOGIN": "service",
    "DOORPASS": "door-door-door",
    "OTHER_API_KEY": "other",
    "HF_TOKEN": "hub",
    "WANDB_API_KEY": "tracker",
    "SERVE_KEY": "clients-key",
    "LOCAL_KEY": "local",
}
TELL = """
import json, os
import statistics  # imports random, and that hashlib
names = json.loads(os.environ["TELL_NAMES"])
keys = sorted(set(names) & set(os.environ))
row = {"from": [json.__file__, statistics.__file__], "folder": os.getcwd(), "keys": keys}
with open(os.environ["TELL_FILE"], "a") as file:
    file.write(json.dumps(row) + chr(10))
"""
PLANTED = 'open(__import__("os").environ["TELL_FILE"], "a").write("planted\\n"); raise SystemExit(9)\n'


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run, and a user in a folder with files that are named like modules of Python; so are some in the run."""
    root = tmp_path / "runs"
    (tmp_path / "m.toml").write_text(SETTINGS)
    made = launch.create(root, "mine", load_settings(tmp_path / "m.toml"), yes=False)
    here = tmp_path / "here"
    for folder in (here, made.work, made.releasing, made.folder / "takeover", made.folder / "takeover" / "drill"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("json", "statistics", "random", "os", "site", "sitecustomize", "usercustomize", "encodings"):
            (folder / f"{name}.py").write_text(PLANTED)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTHONPATH", f":{Path(launch.__file__).parents[2]}:.")
    monkeypatch.setenv("TELL_FILE", str(tmp_path / "told"))
    monkeypatch.setenv("TELL_NAMES", json.dumps([*SECRETS, keeper.LOCAL_KEY]))
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(isolation, "module", lambda name, *_: isolation.python("-c", TELL))
    yield made


def told(run: Run, *keys: str, folder: Path) -> None:
    """Each process has told that it took modules from Python's own folders, and got these keys alone."""
    lines = (run.folder.parents[1] / "told").read_text().splitlines()
    assert lines
    for line in lines:
        assert line != "planted"
        row = json.loads(line)
        assert row["keys"] == sorted(keys)
        assert Path(row["folder"]) == folder
        assert not [name for name in row["from"] if str(run.folder.parents[1]) in name]


def door_settings(**more: Any) -> DoorSettings:
    return DoorSettings(
        host="127.0.0.1", port=0, key_env="DOORPASS", local="http://127.0.0.1:9/v1", timeout_s=1, compare=0, margin=2,
        budget_usd=None, contents=False, **more,
    )  # fmt: skip


def test_a_release(run: Run) -> None:
    assert release.start(run).wait(30) == 0
    told(run, "MY_LOGIN", "HF_TOKEN", folder=run.work)


@pytest.mark.parametrize("key_env", [None, "SERVE_KEY"])
def test_a_server(run: Run, key_env: str | None) -> None:
    log = run.folder.parents[1] / "cache" / "serve.log"
    assert release.serve(run.release, "gguf-q8_0", [], log, key_env).wait(30) == 0
    told(run, *([key_env] if key_env else []), folder=log.parent)


def test_the_tools_of_llama_cpp(run: Run) -> None:
    script = run.folder.parents[1] / "tools" / "convert.py"
    script.parent.mkdir()
    (script.parent / "beside.py").write_text("")
    script.write_text(f"import beside\n{TELL}")
    source: Any = SimpleNamespace(work=run.releasing, settings=settings_of(run))
    gguf._run(source, "converter", [str(script)], script.parent)
    told(run, folder=run.releasing)
    with pytest.raises(StageError, match="the converter of llama"):
        gguf._run(source, "converter", [str(script)])


def test_a_take_over(run: Run) -> None:
    with pytest.raises(LlamaDuoError, match="exit status 0"):
        takeover.start(run, ["--mode=shadow"], {"LOCAL_KEY"})
    told(run, "MY_LOGIN", "DOORPASS", "LOCAL_KEY", folder=run.work)


def test_a_door(run: Run) -> None:
    """Its keeper may have been started by hand, with everything in its environment."""
    at = begin(run, door_settings(local_key_env="LOCAL_KEY"), Mode.SHADOW)

    async def start() -> None:
        held = keeper.Keeper(run, at, door_settings(local_key_env="LOCAL_KEY"))
        held._keys[keeper.LOCAL_KEY] = "made up"
        assert await held._start() is None
        held._socket.close()

    asyncio.run(start())
    told(run, "MY_LOGIN", "DOORPASS", "LOCAL_KEY", keeper.LOCAL_KEY, folder=at.folder)


def test_a_drill(run: Run) -> None:
    assert takeover.drill(run, [], "LOCAL_KEY") == 0
    told(run, "LOCAL_KEY", folder=run.work)


def test_the_door_of_a_drill(run: Run) -> None:
    at = files(run.folder)
    at = type(at)(at.folder / "drill")
    jsonl.write_json(at.settings, {})

    async def start() -> None:
        settings = door_settings(local_key_env="LOCAL_KEY")
        with pytest.raises(LlamaDuoError, match="did not start"):
            async with drill._keeper(run, at, settings, {"MADE": "up"}):
                pass

    asyncio.run(start())
    told(run, "LOCAL_KEY", folder=at.folder)
