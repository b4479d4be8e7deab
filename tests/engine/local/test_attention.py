"""Attention on a processor gives what torch's own gives, and the same gradients."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from engine.local import attention
from engine.local.attention import LONGEST, NAME, use_grouped_attention


def inputs(length: int, heads: int = 6, groups: int = 2, kind: torch.dtype = torch.float64) -> list[torch.Tensor]:
    torch.manual_seed(3)
    shapes = [(2, heads, length, 8), (2, groups, length, 8), (2, groups, length, 8)]
    return [torch.randn(shape, dtype=kind, requires_grad=True) for shape in shapes]


def causal(length: int, kind: torch.dtype = torch.float64) -> torch.Tensor:
    allowed = torch.ones(length, length, dtype=torch.bool).tril()[None, None].repeat(2, 1, 1, 1)
    allowed[1, :, :, length - 2 :] = False  # the second row ends in two tokens of padding
    allowed[1, :, length - 2 :, 0] = True
    return torch.zeros(allowed.shape, dtype=kind).masked_fill(~allowed, torch.finfo(kind).min)


def module(groups: int) -> Any:
    return SimpleNamespace(num_key_value_groups=groups, is_causal=True, training=True)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_values_and_gradients_are_those_of_torch(groups: int) -> None:
    query, key, value = inputs(7, groups=groups)
    mask = causal(7)
    ours, _ = attention._forward(module(6 // groups), query, key, value, mask, scaling=0.3)
    theirs, _ = attention.sdpa_attention_forward(module(6 // groups), query, key, value, mask, scaling=0.3)
    assert torch.allclose(ours, theirs)

    above = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad(ours, (query, key, value), above),
        torch.autograd.grad(theirs, (query, key, value), above),
        strict=True,
    ):
        assert torch.allclose(mine, other)


def test_what_is_not_usual_goes_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(attention, "sdpa_attention_forward", lambda *_, **kwargs: called.append(kwargs) or (None, None))
    query, key, value = inputs(3)
    attention._forward(module(3), query, key, value, None)
    attention._forward(module(3), query, key, value, causal(3), dropout=0.1)
    attention._forward(module(3), query, key, value, causal(3), position_bias=torch.zeros(1))
    long = [torch.zeros(1, 1, LONGEST + 1, 1)] * 3
    attention._forward(module(1), *long, torch.zeros(1, 1, LONGEST + 1, LONGEST + 1))
    assert len(called) == 4


def tiny(implementation: str) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation=implementation,
    )
    return LlamaForCausalLM(config).float()


def test_a_model_computes_the_same_with_it() -> None:
    theirs, ours = tiny("sdpa"), tiny("sdpa")
    use_grouped_attention(ours)
    assert ours.config._attn_implementation == NAME
    ids = torch.randint(0, 50, (3, 9))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    one, other = (model(input_ids=ids, attention_mask=mask).logits for model in (theirs, ours))
    assert torch.allclose(one[mask == 1], other[mask == 1], atol=1e-6)


def test_a_model_with_another_attention_keeps_it() -> None:
    model = tiny("eager")
    use_grouped_attention(model)
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("mask", [torch.ones(1, 1, 4, 4, dtype=torch.bool), torch.zeros(1, 6, 4, 4).double()])
def test_a_mask_of_another_form_goes_to_torch(mask: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(attention, "sdpa_attention_forward", lambda *given, **_: seen.append(given[4]))
    attention._forward(module(2), *inputs(4), mask)
    assert seen == [mask]


@pytest.mark.parametrize("code", ['x._attn_implementation == "sdpa"', 'c._attn_implementation in ("eager", "sdpa")'])
def test_a_model_that_asks_for_the_name_keeps_its_attention(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "asking.py").write_text(f"def f(x, c):\n    return {code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "asking", raising=False)
    model = tiny("sdpa")
    assert attention.is_grouped(model)
    attention._asks_for_name.cache_clear()
    kind = type("Asking", (torch.nn.Identity,), {"__module__": importlib.import_module("asking").__name__})
    model.add_module("other", kind())
    assert not attention.is_grouped(model)
    attention._asks_for_name.cache_clear()
