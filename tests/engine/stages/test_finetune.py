from __future__ import annotations

from pathlib import Path

import pytest

from engine.protocol.run_dir import Run
from engine.protocol.stages import FINETUNE
from engine.settings.local import Finetune
from engine.settings.schema import Migration
from engine.stages.base import Job
from engine.stages.finetune import _start


def job(folder: Path, round_: int, **finetune: object) -> Job:
    tables = {"coverage": {"source": "-"}, "service": {"model": "sandbox"}, "finetune": finetune}
    run = Run(folder)
    return Job(
        run=run,
        settings=Migration.model_validate(tables),
        round=round_,
        folder=FINETUNE.folder(run, round_),
        emit=lambda _: None,
    )


def test_a_warm_start_takes_the_adapter_of_the_round_before(tmp_path: Path) -> None:
    before = FINETUNE.folder(Run(tmp_path), 1) / "adapter"
    assert _start(job(tmp_path, 2, warm_start=True)) == before
    assert _start(job(tmp_path, 1, warm_start=True)) is None and _start(job(tmp_path, 2)) is None


@pytest.mark.parametrize(
    ("changed", "begins_anew"),
    [
        (Finetune(micro_batch=1, gradient_checkpointing="on", checkpoint_minutes=1, report_to=["wandb"]), False),
        (Finetune(attention="eager"), False),
        (Finetune(learning_rate=1e-3), True),
        (Finetune(epochs=2), True),
        (Finetune(batch_size=4), True),
    ],
)
def test_a_begun_training_goes_on_unless_what_it_learns_has_changed(changed: Finetune, begins_anew: bool) -> None:
    assert (changed.learns != Finetune().learns) == begins_anew
