from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.protocol import programs

LOUD = """
import logging, sys, warnings
if __name__ == "__main__":
    warnings.warn("old", FutureWarning)
    logging.getLogger("library").warning("try pip install")
    logging.getLogger("library").error("broken")
    print(sys.argv[1:], file=sys.stderr)
    sys.exit(3)
"""


@pytest.mark.parametrize("shown", [False, True])
def test_libraries_are_quiet_unless_they_are_asked(
    shown: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loud.py").write_text(LOUD)
    root = Path(programs.__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{root}:{tmp_path}")
    if shown:
        monkeypatch.setenv("PYTHONWARNINGS", "default")
    else:
        monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    done = subprocess.run(programs.command("loud", "--json", "a b"), capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert done.returncode == 3 and lines[-2:] == ["broken", "['--json', 'a b']"]
    assert ("FutureWarning: old" in done.stderr) is shown and ("try pip install" in lines) is shown
    assert shown or len(lines) == 2


@pytest.mark.parametrize(
    ("error", "said", "status"),
    [
        ("PermissionError(13, 'Permission denied', '/')", "error: /: permission denied", 2),
        ("OSError(28, 'No space left on device', 'a')", "error: the disk is full: a", 1),
        ("RecursionError('too deep')", "error: unexpected: RecursionError: too deep", 1),
        ("BrokenPipeError(32, 'Broken pipe')", "", 141),
    ],
)
def test_an_error_that_a_program_lets_through_is_a_line(
    error: str, said: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing.py").write_text(f"raise {error}\n")
    monkeypatch.setenv("PYTHONPATH", f"{Path(programs.__file__).parents[2]}:{tmp_path}")
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    done = subprocess.run(programs.command("failing"), capture_output=True, text=True)
    assert done.returncode == status and done.stderr.startswith(said) and "Traceback" not in done.stderr
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    shown = subprocess.run(programs.command("failing"), capture_output=True, text=True)
    assert ("Traceback" in shown.stderr) is bool(said)


def test_the_working_folder_is_not_on_the_path(tmp_path: Path) -> None:
    assert programs.command("json.tool")[:2] == [sys.executable, "-P"]
