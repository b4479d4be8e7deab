"""The loss of a few rows: the summed negative log-likelihood of the tokens that they teach, in nats.

The output layer runs at these tokens alone, and in pieces: a vocabulary of 260,000 would else take more memory than the
rest of a step. Where nothing but a frozen linear layer follows the hidden states, its gradient is computed with the
loss, so that no logits are kept; this is the fused cross-entropy of Liger (Hsu et al. 2024, arXiv 2410.10989, section
3.2). Models that do more there (Gemma 2 caps its logits) take the plain way.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn.functional import cross_entropy, linear
from transformers import PreTrainedModel

from engine.local.training.rows import TokenRow

IGNORED = -100
LOGITS_ROOM = 2**29
"""Bytes of logits that are in memory at a time: in the model's format, in float32, and their gradient."""

LOGIT_BYTES = 12
"""Bytes a logit takes then, at most."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as the model takes them: `inputs` are [rows, tokens], and `targets` the token to predict at each of these.

    A padding-free batch is one row: the rows one after the other, each with positions from 0 on.
    """

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor


def padded(rows: Sequence[TokenRow], device: torch.device) -> Batch:
    """Rows side by side, filled up at the right.

    No attention mask is needed: what fills a row up comes after it, where a causal model does not look, and is not
    learned. Without one, attention skips the half of all pairs of tokens that lie ahead.
    """
    width = max(len(row.tokens) for row in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    targets = torch.full((len(rows), width), IGNORED, dtype=torch.long)
    for number, row in enumerate(rows):
        length = len(row.tokens)
        tokens[number, :length] = torch.tensor(row.tokens)
        targets[number, row.prompt - 1 : length - 1] = torch.tensor(row.tokens[row.prompt :])
    return Batch({"input_ids": tokens.to(device)}, targets.to(device))


def padding_free(rows: Sequence[TokenRow], device: torch.device) -> Batch:
    """Rows behind each other; attention tells them apart by their positions (variable-length flash attention)."""
    tokens = torch.tensor([token for row in rows for token in row.tokens])
    positions = torch.cat([torch.arange(len(row.tokens)) for row in rows])
    targets = torch.tensor(
        [token for row in rows for token in (*[IGNORED] * (row.prompt - 1), *row.tokens[row.prompt :], IGNORED)]
    )
    inputs = {"input_ids": tokens[None].to(device), "position_ids": positions[None].to(device)}
    return Batch(inputs, targets[None].to(device))


class ResponseLoss:
    """Computes the loss of batches; within `attached` the model's output layer is left out of its forward pass.

    `model` is the model inside its adapter.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._head = model.get_output_embeddings()
        known = inspect.signature(model.forward).parameters
        self._keeps = "logits_to_keep" in known
        # Models that see images, such as Gemma 3, want to be told in training that all tokens are text.
        self._typed = "token_type_ids" in known and model.config.get_text_config() is not model.config
        self._fused = _is_frozen_linear(self._head) and self._nothing_follows()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Make the model return its last hidden states, as `__call__` takes them."""
        if not self._fused:
            yield
            return
        self._head.forward = _identity
        try:
            yield
        finally:
            del self._head.forward

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The summed loss, a float32 scalar."""
        wanted = batch.targets != IGNORED
        if not self._fused:
            return self._plain(batch, wanted)
        hidden = self._logits(batch.inputs)
        weight = self._head.weight
        return cast(
            torch.Tensor,
            _Fused.apply(  # type: ignore[no-untyped-call]
                hidden[wanted].to(weight.dtype), weight, batch.targets[wanted]
            ),
        )

    def _plain(self, batch: Batch, wanted: torch.Tensor) -> torch.Tensor:
        columns = wanted.any(dim=0).nonzero().squeeze(1)
        kept = {"logits_to_keep": columns} if self._keeps else {}
        logits = self._logits(batch.inputs, **kept)
        if not self._keeps:
            logits = logits[:, columns]
        wanted, targets = wanted[:, columns], batch.targets[:, columns]
        return cross_entropy(logits[wanted].float(), targets[wanted], reduction="sum")

    def _logits(self, inputs: dict[str, torch.Tensor], **kept: torch.Tensor) -> torch.Tensor:
        typed = {"token_type_ids": torch.zeros_like(inputs["input_ids"])} if self._typed else {}
        return cast(torch.Tensor, self._model(**inputs, **typed, **kept, use_cache=False).logits)

    def _nothing_follows(self) -> bool:
        """Whether the model returns what its output layer gives as it is: not scaled, and not capped."""
        given: list[torch.Tensor] = []

        def known(hidden: torch.Tensor) -> torch.Tensor:
            line = torch.linspace(-99, 99, hidden.numel(), device=hidden.device, dtype=hidden.dtype)
            given.append(line.view_as(hidden))
            return given[0]

        self._head.forward = known
        try:
            with torch.no_grad():
                tokens = torch.zeros(1, 2, dtype=torch.long, device=self._head.weight.device)
                returned = self._logits({"input_ids": tokens})
        finally:
            del self._head.forward
        return len(given) == 1 and returned.shape == given[0].shape and bool((returned == given[0]).all())


class _Fused(torch.autograd.Function):
    """Cross-entropy of hidden states [tokens, hidden] under a frozen output layer [vocabulary, hidden]."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        wants_gradient = ctx.needs_input_grad[0]
        gradient = torch.empty_like(hidden) if wants_gradient else None
        size = max(1, LOGITS_ROOM // (weight.shape[0] * LOGIT_BYTES))
        for start in range(0, len(hidden), size):
            piece, wanted = hidden[start : start + size], targets[start : start + size]
            logits = linear(piece, weight).float()
            likelihood = torch.log_softmax(logits, dim=-1)
            total -= likelihood.gather(1, wanted[:, None]).sum()
            if gradient is not None:
                slope = likelihood.exp_()
                slope[torch.arange(len(wanted), device=wanted.device), wanted] -= 1
                gradient[start : start + size] = slope.to(weight.dtype) @ weight
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0], None, None


def _identity(hidden: torch.Tensor) -> torch.Tensor:
    return hidden


def _is_frozen_linear(head: object) -> bool:
    return type(head) is torch.nn.Linear and head.bias is None and not head.weight.requires_grad
