"""What may be imported where: the terminal stays light, and the engine never knows of it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = (
    *("torch", "transformers", "trl", "peft", "datasets", "litellm", "aiohttp", "accelerate", "sacrebleu"),
    *("numpy", "scipy", "pyarrow", "textual"),
)
LOOK = """
import sys
from llamaduo_tui.cli.main import main
try:
    main({args!r})
except SystemExit as ended:
    assert not ended.code, ended.code
print("LOADED", *[name for name in {names!r} if name in sys.modules])
"""


@pytest.mark.parametrize("command", ["--version", "--help", "runs", "locate", "status demo", "logs demo"])
def test_the_command_line_stays_light(command: str, tmp_path: Path) -> None:
    run = tmp_path / "demo"
    run.mkdir()
    (run / "format").write_text("2\n")
    (run / "migration.toml").write_text('[coverage]\nsource = "x"\n[service]\nmodel = "sandbox"\n')
    args = ["--runs-dir", str(tmp_path), *command.split()]
    looked = subprocess.run(
        [sys.executable, "-c", LOOK.format(args=args, names=HEAVY)], capture_output=True, text=True, check=True
    )
    assert looked.stdout.splitlines()[-1] == "LOADED"


def test_help_reads_no_settings(tmp_path: Path) -> None:
    looked = subprocess.run(
        [sys.executable, "-c", LOOK.format(args=["--help"], names=("pydantic", "rich", "psutil"))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert looked.stdout.splitlines()[-1] == "LOADED"


@pytest.mark.parametrize(
    "package, forbidden", [("engine", ("llamaduo_tui", "textual", "rich")), ("llamaduo_tui", HEAVY[:-1])]
)
def test_neither_package_reaches_over(package: str, forbidden: tuple[str, ...]) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in forbidden for name in names), f"{file}: {names}"
