"""`check` refuses models that would train on noise or fail late, from their files, in one line each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.estimate import machine
from engine.preflight import check
from engine.preflight.report import Problem
from engine.sandbox import tickets
from tests.engine.local.broken import BROKEN, LAYER, QUANTISED, tensors, without
from tests.tiny import make_model, make_tokenizer

Break = Callable[[Path], None]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("tiny")
    make_model(folder)
    return folder


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's speed, which takes a second to measure, is no matter here."""
    monkeypatch.setattr(machine, "_matrix_rate", lambda _: 1e12)
    monkeypatch.setattr(machine, "_read_rate", lambda _: 1e10)


def checked(folder: Path, model: Path, local: str = "", more: str = "") -> list[Problem]:
    rows = tickets.rows(seed=1, count=40)
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    file = folder / "migration.toml"
    file.write_text(
        f'[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n[local]\nmodel = "{model}"\n{local}\n{more}'
    )
    return list(check.check(file, lambda _: None).problems)


def extra_tokens(folder: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|more|>"]})
    tokenizer.save_pretrained(folder)


def adapter(folder: Path) -> None:
    for file in ("config.json", "model.safetensors"):
        (folder / file).unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')
    (folder / "adapter_model.safetensors").write_bytes(b"weights")


CASES: dict[str, tuple[Break, str]] = {
    "gptq": QUANTISED["gptq"],
    "mxfp4": QUANTISED["mxfp4"],
    "truncated": BROKEN["truncated"],
    "layer-missing": (tensors(without(f"{LAYER}.weight")), f"the tensor {LAYER}.weight is missing"),
    "tokenizer": (extra_tokens, "none for '<|more|>'"),
    "context": (tensors(lambda _: None, max_position_embeddings=64), "the model takes"),
    "adapter": (adapter, "a LoRA adapter of owner/base"),
}


@pytest.mark.parametrize(("change", "message"), CASES.values(), ids=CASES.keys())
def test_a_folder_that_cannot_be_trained_is_one_line(change: Break, message: str, tiny: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    change(model)
    (problem,) = checked(tmp_path, model)
    assert message in problem.error and "\n" not in problem.error and problem.hint and problem.exit_status == 2


def test_a_good_folder_passes_with_every_kind_of_adapter(tiny: Path, tmp_path: Path) -> None:
    kinds = 'adapter = { rslora = true, dora = true, target_modules = ["q_proj", "v_proj"] }'
    assert checked(tmp_path, tiny, f"{kinds}\n", "[inference]\nmax_new_tokens = 64\n") == []
    (problem,) = checked(tmp_path, tiny, 'adapter = { target_modules = ["query"] }')
    assert "'query' matches no layer" in problem.error and "q_proj" in problem.hint
