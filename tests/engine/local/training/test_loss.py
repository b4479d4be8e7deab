"""The loss against the plainest way to compute it, and batches without padding against padded ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from engine.local.training import loss as module
from engine.local.training.attention import keeps_rows_apart
from engine.local.training.loss import Batch, ResponseLoss, padded, padding_free
from engine.local.training.rows import TokenRow

CPU = torch.device("cpu")
ROWS = [TokenRow(list(range(3, 20)), 9), TokenRow([5, 6, 7, 8], 1), TokenRow([9, 8, 7, 6, 5, 4, 3], 4)]
SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def llama() -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SMALL)).requires_grad_(False)


def gemma_2() -> Any:
    torch.manual_seed(0)
    return Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=0.02)).requires_grad_(False)


def lfm_2() -> Any:
    torch.manual_seed(0)
    return Lfm2ForCausalLM(Lfm2Config(**SMALL, layer_types=["conv", "full_attention"])).requires_grad_(False)


def gpt_2() -> Any:
    torch.manual_seed(0)
    shape = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 1}
    config = GPT2Config(**shape, eos_token_id=2, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0)
    return GPT2LMHeadModel(config).requires_grad_(False)


def taught(model: Any) -> torch.nn.Parameter:
    """A weight inside the model that is trained."""
    weights = [weight for weight in model.base_model.parameters() if weight.shape == (32, 32)]
    return weights[0].requires_grad_(True)  # type: ignore[no-any-return]


def plain_loss(model: Any) -> torch.Tensor:
    """Each row alone: the log-likelihood of each token after the prompt, summed."""
    total = torch.zeros(())
    for row in ROWS:
        logits = model(input_ids=torch.tensor([row.tokens]), use_cache=False).logits[0].float()
        likelihood = logits.log_softmax(-1)
        for place in range(row.prompt, len(row.tokens)):
            total = total - likelihood[place - 1, row.tokens[place]]
    return total


@pytest.mark.parametrize(
    ("make", "collate"),
    [
        (llama, padded),
        (llama, padding_free),
        (gemma_2, padded),
        (gemma_2, padding_free),
        (lfm_2, padded),
        (gpt_2, padded),
    ],
)
@pytest.mark.parametrize("room", [2**29, 1], ids=["one piece", "a token a piece"])
def test_loss_and_gradient_are_those_of_each_row_alone(
    make: Any, collate: Any, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOGITS_ROOM", room)
    model = make()
    weight = taught(model)
    expected = plain_loss(model)
    (wanted,) = torch.autograd.grad(expected, weight)
    loss = ResponseLoss(model)
    with loss.attached():
        found = loss(collate(ROWS, CPU))
        (gradient,) = torch.autograd.grad(found, weight)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)
    assert model(input_ids=torch.tensor([[3, 4]])).logits.shape[-1] == 64, "the output layer is back"


def test_only_a_plain_output_layer_is_fused() -> None:
    assert ResponseLoss(llama())._fused and not ResponseLoss(gemma_2())._fused
    trained = llama()
    trained.lm_head.requires_grad_(True)
    assert not ResponseLoss(trained)._fused


def test_a_batch_without_gradient() -> None:
    model = llama()
    loss, expected = ResponseLoss(model), plain_loss(model).item()
    with torch.no_grad(), loss.attached():
        assert loss(padded(ROWS, CPU)).item() == pytest.approx(expected, rel=1e-5)


def test_a_padding_free_batch_has_no_padding_and_teaches_no_first_token() -> None:
    batch: Batch = padding_free(ROWS, CPU)
    assert batch.inputs["input_ids"].shape == (1, sum(len(row.tokens) for row in ROWS))
    assert (batch.targets != module.IGNORED).sum() == sum(row.learned for row in ROWS)


def test_a_model_that_carries_states_from_row_to_row_is_found_out() -> None:
    attention, convolutions = llama(), lfm_2()
    for weight in [*attention.parameters(), *convolutions.parameters()]:
        weight.data *= 10 if weight.dim() > 1 else 1  # random weights are so small that layers hardly matter
    assert keeps_rows_apart(attention, ROWS[:2])
    assert not keeps_rows_apart(convolutions, ROWS[:2])
