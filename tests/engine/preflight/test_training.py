from __future__ import annotations

import pytest

from engine.dataset.split import Splits
from engine.preflight import training
from engine.preflight.training import measure_splits, missing_packages
from engine.protocol.rows import Pair
from engine.settings.local import Finetune
from tests.tiny import make_tokenizer


def pairs(count: int, characters: int) -> list[Pair]:
    answer = {"role": "assistant", "content": "x" * characters}
    return [
        Pair(id=f"{n}", messages=[{"role": "user", "content": f"{n}"}, answer])  # type: ignore[list-item]
        for n in range(count)
    ]


def test_pairs_that_are_too_long_are_told_by_split() -> None:
    splits = Splits(pairs(4, 10) + pairs(2, 90), pairs(2, 10) + pairs(1, 200), [])
    found = measure_splits(make_tokenizer(), splits, 100)
    assert list(found.notes(100)) == [
        f"train 2 of 6, dev 1 of 3 are longer than 100 tokens and left out; the longest has {found.longest}: see "
        "finetune.max_length"
    ]
    assert not list(found.problems(100)) and 200 < found.longest < 260
    assert not list(measure_splits(make_tokenizer(), splits, 300).notes(300))


def test_no_pair_that_is_short_enough_is_a_problem_before_anything_is_paid() -> None:
    found = measure_splits(make_tokenizer(), Splits(pairs(3, 90), pairs(2, 90), []), 64)
    (problem,) = found.problems(64)
    assert problem.message == "no pair to train on: all 3 are longer than 64 tokens"
    assert problem.hint == f"raise finetune.max_length: the longest has {found.longest}"
    assert list(found.notes(64))[1].startswith("no dev pair is short enough")


@pytest.mark.parametrize(
    ("settings", "hints"),
    [
        (Finetune(), []),
        (Finetune(report_to=["wandb", "mlflow"]), ["pip install wandb", "pip install mlflow"]),
        (
            Finetune(attention="flash_attention_2"),
            ["pip install flash-attn --no-build-isolation, which needs CUDA; or"],
        ),
    ],
)
def test_missing_packages_are_named_with_what_installs_them(
    settings: Finetune, hints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "find_spec", lambda _: None)
    found = list(missing_packages(settings))
    assert [problem.hint[: len(hint)] for problem, hint in zip(found, hints, strict=True)] == hints
    monkeypatch.setattr(training, "find_spec", lambda _: training)
    assert not list(missing_packages(settings))
