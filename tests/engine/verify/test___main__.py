"""What `verify` prints, and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from engine.protocol.run_dir import Run


def verified(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine.verify", str(folder), *options], capture_output=True, text=True, check=False
    )


def test_lines_and_json(finished: Run) -> None:
    told = verified(finished.folder)
    assert told.returncode == 0 and told.stdout.splitlines()[-1] == "mini holds"
    (finished.folder / "coverage" / "dev.jsonl").write_text("")
    told, listed = verified(finished.folder), verified(finished.folder, "--json")
    assert told.returncode == listed.returncode == 1
    assert "BROKEN data      coverage/dev.jsonl is empty, and had" in told.stdout
    assert told.stdout.splitlines()[-1] == "mini does not hold: data"
    row = json.loads(listed.stdout)
    assert row["holds"] is False and row["checks"][1]["problems"][0]["file"] == "coverage/dev.jsonl"


def test_it_loads_no_model_library(finished: Run) -> None:
    program = (
        "import sys; from pathlib import Path; from engine.protocol.run_dir import Run\n"
        "from engine.verify.verification import verify; assert verify(Run(Path(sys.argv[1]))).holds\n"
        "print([name for name in ('torch', 'transformers', 'litellm', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(finished.folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    told = verified(tmp_path)
    assert told.returncode == 2 and "not a run" in told.stderr
