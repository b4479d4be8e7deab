from __future__ import annotations

from pathlib import Path

import pytest

from engine.local.resolve import ResolvedModel
from engine.protocol.errors import InputError
from engine.protocol.run_dir import Run
from engine.protocol.stages import FINETUNE
from engine.settings.local import Finetune
from engine.settings.schema import Migration
from engine.stages.base import Job
from engine.stages.finetune import _files, _start
from tests.engine.earlier_run import DIGEST, ended_run


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
    model = ResolvedModel("m", tmp_path, None, DIGEST)
    assert _start(job(tmp_path, 2, warm_start=True), lambda: model) == before
    assert _start(job(tmp_path, 1, warm_start=True), lambda: model) is None
    assert _start(job(tmp_path, 2), lambda: model) is None


def test_an_earlier_run_starts_each_round_and_a_warm_start_the_first_alone(tmp_path: Path) -> None:
    first = ended_run(tmp_path, count=30)
    theirs, start = first.round(1) / "finetune" / "adapter", str(first.folder)
    model = ResolvedModel("m", tmp_path, None, DIGEST)
    assert _start(job(tmp_path, 1, start_from=start), lambda: model) == theirs
    assert _start(job(tmp_path, 2, start_from=start), lambda: model) == theirs
    own = _start(job(tmp_path, 2, start_from=start, warm_start=True), lambda: model)
    assert own == FINETUNE.folder(Run(tmp_path), 1) / "adapter"
    assert _files(theirs, Run(tmp_path / "other")).keys() == {str(theirs / "adapter_model.safetensors")}
    with pytest.raises(InputError, match="other weights"):
        _start(job(tmp_path, 1, start_from=start), lambda: ResolvedModel("m", tmp_path, None, "f" * 16))


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
