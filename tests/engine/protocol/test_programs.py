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


def test_the_working_folder_is_not_on_the_path(tmp_path: Path) -> None:
    assert programs.command("json.tool")[:2] == [sys.executable, "-P"]
