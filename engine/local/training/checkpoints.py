"""When Trainer writes a checkpoint, and which checkpoints are whole.

Trainer saves each state with a lower dev loss, and removes all but the best and the newest; here it also saves when
enough time has passed. A checkpoint is marked once all of its files are there: the mark has their sizes, so one that a
kill or a power cut left half written or half removed is never read.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from engine.local.world import barrier, rank
from engine.protocol import checksums, jsonl
from engine.protocol.tree import below

_COMPLETE = "complete"


class Checkpoints(TrainerCallback):  # type: ignore[misc]
    """Has a checkpoint written every so many minutes, and marks it."""

    def __init__(self, minutes: float) -> None:
        self._every = 60 * minutes
        self._saved = time.monotonic()
        self.agreed = False
        """Whether one is due in any process: all must save in the same step."""

    @property
    def is_due(self) -> bool:
        """Whether enough time has passed for this process."""
        return time.monotonic() - self._saved >= self._every

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._saved = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_save |= self.agreed

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        barrier()
        if rank() == 0:
            checkpoint = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            checksums.flush_tree(checkpoint)
            jsonl.write_json(checkpoint / _COMPLETE, _sizes(checkpoint))
        barrier()
        self._saved = time.monotonic()


def newest(folder: Path) -> Path | None:
    """The newest complete checkpoint in a folder; incomplete ones are removed."""
    complete = []
    for path in folder.glob("checkpoint-*"):
        if jsonl.read_json(path / _COMPLETE) == _sizes(path):
            complete.append(path)
        else:
            shutil.rmtree(path, ignore_errors=True)
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _sizes(checkpoint: Path) -> dict[str, int]:
    """The bytes of each file of a checkpoint except its mark."""
    files = (path for path in below(checkpoint) if path.is_file() and path.name != _COMPLETE)
    return {str(path.relative_to(checkpoint)): path.stat().st_size for path in files}
