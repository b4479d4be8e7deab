"""Every process of this program is started in isolation: no module of a working folder, no key but those it needs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import engine
from engine.protocol import isolation
from engine.protocol.secrets import without_secrets

ROOT = Path(engine.__file__).parents[1]

INTERPRETERS = {
    "engine/protocol/isolation.py": "the one place",
    "engine/local/inference/served.py": "-I: the guard of a server imports nothing of this program",
    "engine/worker/ray_rank.py": "travels to other machines by value, with nothing of this program",
}
STARTS = {f"subprocess.{name}" for name in ("run", "Popen", "call", "check_call", "check_output")}
STARTS |= {f"asyncio.create_subprocess_{name}" for name in ("exec", "shell")}
OWN_FOLDER = ("engine/release", "engine/takeover", "llamaduo_tui/control")
"""Where processes outlive the terminal, whose folder may hold anything."""

WORKER = "llamaduo_tui/control/launch.py"
"""The worker gets all keys, since it gives each stage those of the stage."""


def sources() -> list[Path]:
    return [path for package in ("engine", "llamaduo_tui") for path in sorted((ROOT / package).rglob("*.py"))]


def test_only_one_module_names_the_interpreter() -> None:
    naming = {str(path.relative_to(ROOT)) for path in sources() if "sys.executable" in path.read_text()}
    assert naming == INTERPRETERS.keys()
    assert isolation.module("a", "b")[1:] == ["-P", "-m", "a", "b"]


def test_processes_that_outlive_the_terminal_have_a_folder_and_an_environment_of_their_own() -> None:
    found = 0
    for path in sources():
        name = str(path.relative_to(ROOT))
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and name.startswith(OWN_FOLDER) and ast.unparse(call.func) in STARTS:
                lacking = {"cwd", "env"} - {keyword.arg for keyword in call.keywords}
                assert lacking <= ({"env"} if name == WORKER else set()), f"{name}:{call.lineno} lacks {lacking}"
                found += 1
    assert found >= 8


@pytest.mark.parametrize(
    ("path", "kept"),
    [("/a:/b", "/a:/b"), (":/a", "/a"), ("/a:", "/a"), (".:/a:b", "/a"), (".", None), ("", None)],
)
def test_no_part_of_the_path_is_the_working_folder(path: str, kept: str | None) -> None:
    assert without_secrets({"PYTHONPATH": path}).get("PYTHONPATH") == kept
