"""A model whose layers are shared computes what a whole one does: the loss, and the gradients of the adapter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributed.tensor import DTensor

from engine.local.device import find_device
from engine.local.sharding import shard

SIZE = 16


class Layer(nn.Module):
    """A frozen matrix in bfloat16 with an adapter in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(SIZE, SIZE, dtype=torch.bfloat16).requires_grad_(False)
        self.down, self.up = nn.Linear(SIZE, 2), nn.Linear(2, SIZE)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        adapted: torch.Tensor = self.frozen(hidden) + self.up(self.down(hidden.float())).to(hidden.dtype)
        return torch.tanh(adapted)


class Model(nn.Module):
    """Layers between embeddings and an output layer that are frozen, too; the same weights each time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embeddings = nn.Embedding(8, SIZE, dtype=torch.bfloat16).requires_grad_(False)
        self.layers = nn.ModuleList(Layer() for _ in range(3))
        self.head = nn.Linear(SIZE, 8, dtype=torch.bfloat16).requires_grad_(False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.embeddings(tokens)
        for layer in self.layers:
            hidden = layer(hidden)
        return nn.functional.cross_entropy(nn.functional.linear(hidden, self.head.weight).float(), tokens)


def gradients(model: nn.Module) -> list[float]:
    """The loss, and the size of each gradient of the adapters."""
    model.zero_grad()
    loss = model(torch.arange(8))
    loss.backward()
    return [loss.item(), *(weight.grad.norm().item() for weight in model.parameters() if weight.grad is not None)]


@pytest.fixture
def world() -> Iterator[None]:
    """This process as a world of one: what processes say to each other is PyTorch's business."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_a_shared_model_computes_what_a_whole_one_does(world: None) -> None:
    whole, shared = Model(), Model()
    shard(shared, replace(find_device(), kind="cpu"))
    parts = {name for name, weight in shared.named_parameters() if isinstance(weight, DTensor)}
    assert parts == {f"layers.{n}.frozen.{kind}" for n in range(3) for kind in ("weight", "bias")}
    for _ in range(2):
        assert gradients(shared) == gradients(whole)
    with torch.no_grad():
        assert shared(torch.arange(8)) == whole(torch.arange(8))


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(TypeError, match="Linear has no stack of layers"):
        shard(nn.Linear(2, 2), find_device())
