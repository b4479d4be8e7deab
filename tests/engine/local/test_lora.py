"""The LoRA forward is used with tested versions of peft only; with others peft's own takes over, and a log says so."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftModel
from peft.tuners.lora.layer import Linear

from engine.local import lora
from engine.local.device import Device
from engine.local.load import load_base
from engine.local.lora import AdapterSize, add_adapter
from engine.local.resolve import ResolvedModel
from engine.settings.local import Adapter, Local
from tests.engine.local.architectures import make

FLOAT32 = Device("cpu", "", "float32", False, 1 << 33, 1 << 33)
INPUT = torch.tensor([[1, 50, 60, 70, 2]])


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """A process that has not warned yet."""
    lora._fits_peft.cache_clear()
    yield
    lora._fits_peft.cache_clear()


def made(tiny: ResolvedModel, **adapter: bool) -> PeftModel:
    torch.manual_seed(0)
    settings = Adapter.model_validate({"r": 4, "alpha": 8, "dropout": 0, **adapter})
    model = add_adapter(load_base(tiny, Local(), FLOAT32), settings)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def layers_of_ours(model: PeftModel) -> int:
    return sum("forward" in vars(module) for module in model.modules() if isinstance(module, Linear))


def test_the_installed_peft_is_tested(tiny: ResolvedModel, caplog: pytest.LogCaptureFixture) -> None:
    assert layers_of_ours(made(tiny)) > 0
    assert caplog.records == []


def test_another_peft_computes_the_same_itself_and_a_warning_says_so_once(
    tiny: ResolvedModel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = made(tiny)
    lora._fits_peft.cache_clear()
    monkeypatch.setattr(peft, "__version__", "0.22.0")
    with caplog.at_level(logging.WARNING):
        theirs, again = made(tiny), made(tiny)

    assert layers_of_ours(theirs) == layers_of_ours(again) == 0
    with torch.inference_mode():
        torch.testing.assert_close(ours(INPUT).logits, theirs(INPUT).logits, rtol=1e-4, atol=1e-4)
    assert [record.getMessage() for record in caplog.records] == [
        "peft 0.22.0 is untested (tested: 0.21): training uses peft's LoRA layers, which are slower"
    ]


@pytest.mark.parametrize(
    ("attribute", "value", "missing"),
    [
        ("merged", False, "merged"),
        ("adapter_layer_names", ("lora_A", "lora_up"), "lora_B"),
        ("other_param_names", ("r", "lora_alpha"), "scaling, lora_dropout"),
    ],
)
def test_layers_without_what_it_uses_are_left_alone(
    attribute: str, value: object, missing: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Linear, attribute, value)
    assert not lora._fits_peft()
    (record,) = caplog.records
    assert f"has LoRA layers without {missing}:" in record.getMessage()


@pytest.mark.parametrize(("version", "fits"), [("0.21.0", True), ("0.21.9rc1", True), ("0.2.1", False), ("1.0", False)])
def test_a_version_counts_by_its_minor(version: str, fits: bool) -> None:
    assert bool(lora._incompatibility(version)) != fits


@pytest.mark.parametrize(("kind", "ours"), [("rslora", True), ("dora", False)])
def test_variants_compute_what_peft_computes(
    kind: str, ours: bool, tiny: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, plain = made(tiny, **{kind: True}), made(tiny)
    assert bool(layers_of_ours(model)) == ours
    lora._fits_peft.cache_clear()
    monkeypatch.setattr(peft, "__version__", "0.22.0")
    with torch.inference_mode():
        expected = made(tiny, **{kind: True})(INPUT).logits
        torch.testing.assert_close(model(INPUT).logits, expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(plain(INPUT).logits, expected, atol=1e-3)


def test_4_bit_layers_with_biases_train_after_an_evaluation(tmp_path: Path) -> None:
    """On processors bitsandbytes repacks weights at an evaluation: then biases failed, and gradients were cut."""

    def wide(sizes: dict[str, Any]) -> None:
        sizes |= {"hidden_size": 64, "intermediate_size": 64, "num_key_value_heads": 4}

    resolved = make("qwen2-biases", tmp_path, wide)
    model = add_adapter(load_base(resolved, Local(quantization="nf4"), FLOAT32), Adapter(r=4, alpha=8, dropout=0))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        evaluated = model.eval()(INPUT).logits
    trained = model.train()(INPUT).logits
    torch.testing.assert_close(trained, evaluated)
    trained.sum().backward()
    assert all(
        weight.grad is not None and weight.grad.any() for name, weight in model.named_parameters() if "lora_A" in name
    )


@pytest.mark.parametrize(
    ("trained", "total", "words"),
    [
        (4_608, 98_304, "4,608 of 98,304 weights (4.69%)"),
        (921_600, 135_436_608, "921,600 of 135 million weights (0.68%)"),
        (20_500_000, 8_050_000_000, "20.5 million of 8,050 million weights (0.25%)"),
    ],
)
def test_sizes_are_told_well_at_every_size(trained: int, total: int, words: str) -> None:
    assert words in AdapterSize(trained=trained, total=total, layers={"q_proj": 2}, frozen={}).sentence
