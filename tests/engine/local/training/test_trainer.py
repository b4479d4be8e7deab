"""The loss against the plainest way to compute it, and rows behind each other against rows side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
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

from engine.local.device import Device
from engine.local.training.arguments import Plan, arguments
from engine.local.training.attention import keeps_rows_apart
from engine.local.training.checkpoints import Checkpoints
from engine.local.training.fit import Fit
from engine.local.training.reporting import no_words
from engine.local.training.rows import TokenRow
from engine.local.training.trainer import ResponseTrainer
from engine.settings.schema import Migration
from tests.tiny import make_tokenizer

CPU = Device("cpu", "", "float32", False, 2**34, 2**34)
ROWS = [TokenRow(list(range(3, 20)), 9), TokenRow([5, 6, 7, 8], 1), TokenRow([9, 8, 7, 6, 5, 4, 3], 4)]
SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
PLAN = Plan(total=2, warmup=0, decay=1, between=1, patience=0)


def llama() -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SMALL))


def gemma_2() -> Any:
    torch.manual_seed(0)
    return Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=0.02))


def lfm_2() -> Any:
    torch.manual_seed(0)
    return Lfm2ForCausalLM(Lfm2Config(**SMALL, layer_types=["conv", "full_attention"]))


def gpt_2() -> Any:
    torch.manual_seed(0)
    shape = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 1}
    return GPT2LMHeadModel(GPT2Config(**shape, eos_token_id=2, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0))


def adapted(make: Any) -> PeftModel:
    """A model with an adapter that changes its answers."""
    model = get_peft_model(make(), LoraConfig(target_modules="all-linear", init_lora_weights=False))
    assert isinstance(model, PeftModel)
    return model


def trainer_of(model: PeftModel, folder: Path, micro_batch: int, padding_free: bool) -> ResponseTrainer:
    settings = Migration.model_validate({"coverage": {"source": "-"}, "service": {"model": "sandbox"}})
    fit = Fit(micro_batch, False)
    args = arguments(settings, CPU, PLAN, fit, folder, dev=False, known=False)
    return ResponseTrainer(
        model, args, ROWS, ROWS, 4, Checkpoints(60), fit, padding_free, no_words, lambda _: None,
        processing_class=make_tokenizer(), callbacks=[],
    )  # fmt: skip


def plain_loss(model: Any) -> torch.Tensor:
    """Each row alone: the log-likelihood of each token after the prompt, summed."""
    total = torch.zeros(())
    for row in ROWS:
        likelihood = model(input_ids=torch.tensor([row.tokens]), use_cache=False).logits[0].float().log_softmax(-1)
        for place in range(row.prompt, len(row.tokens)):
            total = total - likelihood[place - 1, row.tokens[place]]
    return total


@pytest.mark.parametrize("make", [llama, gemma_2, lfm_2, gpt_2])
@pytest.mark.parametrize(("micro_batch", "padding_free"), [(4, False), (2, False), (4, True)])
def test_loss_and_gradient_are_those_of_each_row_alone(
    make: Any, micro_batch: int, padding_free: bool, tmp_path: Path
) -> None:
    if padding_free and make in (lfm_2, gpt_2):
        pytest.skip("its rows are not told apart by their positions")
    model = adapted(make)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    learned = sum(row.learned for row in ROWS)
    expected = plain_loss(model) / learned
    wanted = torch.autograd.grad(expected, weights)
    trainer = trainer_of(model, tmp_path, micro_batch, padding_free)
    batch = next(iter(trainer.get_train_dataloader()))
    loss = trainer.training_step(model, batch, torch.tensor(learned))
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=1e-5)
    for weight, gradient in zip(weights, wanted, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-3, atol=1e-5)
    assert trainer.evaluate(ignore_keys=None)["eval_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_a_blank_row_has_no_loss_and_no_gradient(tmp_path: Path) -> None:
    model = adapted(llama)
    trainer = trainer_of(model, tmp_path, 4, False)
    blank = trainer.data_collator([trainer.train_dataset[len(ROWS)]])
    assert trainer.training_step(model, blank, torch.tensor(5)) == 0
    assert not any(weight.grad.any() for weight in model.parameters() if weight.grad is not None)


def test_a_model_that_carries_states_from_row_to_row_is_found_out() -> None:
    attention, convolutions = llama(), lfm_2()
    for weight in [*attention.parameters(), *convolutions.parameters()]:
        weight.data *= 10 if weight.dim() > 1 else 1  # random weights are so small that layers hardly matter
    assert keeps_rows_apart(attention, ROWS[:2])
    assert not keeps_rows_apart(convolutions, ROWS[:2])
