"""One round on real data: 339 classification prompts of no_robots, the sandbox as service, SmolLM2-135M here.

    python bench/real.py [FILE] [--check] [--keep FOLDER]

FILE is a coverage file (default: ../shared/data/classification.jsonl). Bars: the run ends with a decision and a report,
and the tuned model's dev loss is below the untuned one's. It takes about a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from figures import show

from engine.protocol.manifest import manifest
from engine.protocol.run_dir import Run

DATA = Path(__file__).parents[2] / "shared" / "data" / "classification.jsonl"
SETTINGS = """
[task]
name = "real"
topic = "classification"
[coverage]
source = "{source}"
[service]
model = "sandbox"
[judge]
repeats = 1
[local]
adapter = {{ r = 16, alpha = 32, dropout = 0 }}
[finetune]
epochs = 1
max_length = 768
[inference]
samples = 1
max_new_tokens = 40
[loop]
max_rounds = 1
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=DATA, help="a coverage file")
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--keep", type=Path, help="put the run here and keep it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_STATE_HOME"] = scratch  # the record of opened prompts is the user's
        root = args.keep or Path(scratch)
        settings = Path(scratch) / "migration.toml"
        settings.write_text(SETTINGS.format(source=args.file.resolve()))
        program = str(Path(sys.executable).with_name("llamaduo-tui"))
        status = subprocess.run(
            [program, "--runs-dir", str(root), "run", str(settings), "--headless", "--yes"]
        ).returncode
        run = Run(root / "real")
        trained = manifest(run.round(1) / "finetune")
        losses = (trained.counts["dev_loss_untuned"], trained.counts["dev_loss"]) if trained else (0.0, 0.0)
        rows = [
            ("exit status", "0 or 3", str(status), status in (0, 3)),
            ("decisions", "2", str(len(run.decisions())), len(run.decisions()) == 2),
            ("report", "written", "written" if run.report_file.exists() else "none", run.report_file.exists()),
            ("dev loss, untuned and tuned", "lower", f"{losses[0]:.3f}, {losses[1]:.3f}", losses[1] < losses[0]),
        ]
    return int(not show(rows) and args.check)


if __name__ == "__main__":
    sys.exit(main())
