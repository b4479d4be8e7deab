"""Shares a base model's frozen weights between the processes of a training (FSDP): for models too large for one GPU.

Each process keeps its part of every layer, and gathers a layer's whole weights when it is used, forward and backward
(Zhao et al. 2023, arXiv 2304.11277; here PyTorch's `fully_shard`). The adapter is small and stays whole in each
process, as do the embeddings and the output layer, whose weights a loss may use by itself. So all else of a training is
as without: it adds up the adapter's gradients, and saves the adapter.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from engine.local.device import Device
from engine.local.world import world_size


def shard(model: nn.Module, device: Device) -> None:
    """Share a model's layers, and move the model to the device; its weights may be in main memory until then.

    Processes gather layers together: from now on each must run as many passes, forward and backward, as the others.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    layers = layers_of(model)
    trained = {weight for weight in model.parameters() if weight.requires_grad}
    shared = {weight for layer in layers for weight in layer.parameters()} - trained
    whole = {weight for weight in model.parameters() if weight not in shared}
    target = _target(device)
    for tensor in [*whole, *model.buffers()]:
        tensor.data = tensor.data.to(target)
    mesh = init_device_mesh(device.kind, (world_size(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh, ignored_params=whole)
    fully_shard(model, mesh=mesh, ignored_params=whole)


def is_sharded(model: nn.Module) -> bool:
    """Whether processes share the model's weights, and so must run as many passes."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(weight, DTensor) for weight in model.parameters())


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The layers of the model's stack, the list of modules with the most weights."""
    stacks = [(_size(module), list(module)) for module in model.modules() if isinstance(module, nn.ModuleList)]
    if not stacks:
        raise TypeError(f"{type(model).__name__} has no stack of layers")
    return max(stacks, key=lambda sized: sized[0])[1]


def _size(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _target(device: Device) -> Any:
    return torch.device("cuda", torch.cuda.current_device()) if device.kind == "cuda" else torch.device(device.kind)
