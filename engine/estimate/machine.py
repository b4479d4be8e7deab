"""What work on a local model takes on this machine: seconds and bytes, from a few numbers of the model.

Training costs 4 floating-point operations per weight and token (forward and backward through frozen weights; 6 without
LoRA, Kaplan et al. 2020, section 2.1), generating costs one read of the weights per step; the speed of this machine at
either is measured for a moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch

from engine.local.device import Device, generation_bytes
from engine.local.shape import Shape
from engine.settings.schema import Migration

if TYPE_CHECKING:
    from peft import PeftModel

UTILISATION = 0.35
"""Share of the measured matrix rate that training reaches, with smaller matrices and the work between them."""

START_S = 15.0
"""Seconds for a stage's process to import its libraries and load a model."""


class Speed(NamedTuple):
    """Floating-point operations of a matrix product, and bytes read, in a second."""

    matrix: float
    read: float


@cache
def measure(device: Device) -> Speed:
    """The speed of this machine, measured for a moment."""
    return Speed(_matrix_rate(device), _read_rate(device))


def training_seconds(settings: Migration, parameters: int, speed: Speed, tokens: float) -> float:
    """Fine-tuning on pairs with these many tokens, for all epochs."""
    return START_S + 4 * parameters * settings.finetune.epochs * tokens / (speed.matrix * UTILISATION)


def inference_seconds(settings: Migration, parameters: int, device: Device, speed: Speed, prompts: int) -> float:
    """Generating: a step reads the weights once for the whole batch, and computes once for each sequence."""
    batch = 32 if device.kind == "cpu" else 256
    sequences = prompts * settings.inference.samples
    step = parameters * device.torch_dtype.itemsize / speed.read
    step = max(step, 2 * parameters * min(batch, sequences) / (speed.matrix * UTILISATION))
    return START_S + -(-sequences // batch) * min(settings.inference.max_new_tokens, 256) * step


def training_memory(model: PeftModel, settings: Migration, device: Device, longest: int) -> int:
    """Bytes for training on pairs of at most `longest` tokens, in passes as training chooses them."""
    from engine.local.training.memory import first_fit, memory  # loads peft

    needed, most = memory(model, settings, device), min(longest, settings.finetune.max_length)
    fit = first_fit(needed, settings.finetune, device, most, settings.compute.processes or 1)
    return needed.bytes(fit, most)


def answering_memory(model: PeftModel, settings: Migration, device: Device, longest: int) -> int:
    """Bytes for answering prompts of at most `longest` tokens on this machine; 0 where a server answers.

    That is with as many answers at once as the settings say, or else one: their number is found from what is free.
    """
    from engine.local.training.memory import NF4_SHARE, PROCESS, SLACK  # loads peft

    if settings.inference.backend != "transformers":
        return 0
    nf4 = settings.local.quantization == "nf4"
    size = 2 if nf4 else device.torch_dtype.itemsize
    weights = sum(
        parameter.numel() * (NF4_SHARE if nf4 and ".base_layer." in name and parameter.dim() == 2 else size)
        for name, parameter in model.named_parameters()
    )
    shape = Shape.of(model.get_base_model().config)
    sequence = generation_bytes(
        cache_values=shape.cache_values,
        hidden=shape.hidden,
        vocabulary=shape.vocabulary,
        itemsize=size,
        prompt_tokens=longest,
        max_new_tokens=settings.inference.max_new_tokens,
    )
    process = PROCESS if device.kind == "cpu" else 0
    return int((process + weights + (settings.inference.batch_size or 1) * sequence) * SLACK)


def layer_bytes(model: PeftModel, device: Device) -> list[int]:
    """Bytes of the frozen weights of each layer of the model's stack."""
    from engine.local.sharding import layers_of

    size = device.torch_dtype.itemsize
    return [
        size * sum(weight.numel() for weight in layer.parameters() if not weight.requires_grad)
        for layer in layers_of(model)
    ]


def weight_bytes(settings: Migration, device: Device, frozen: int) -> int:
    """Bytes of a model's weights as they are loaded."""
    return int(frozen * (0.55 if settings.local.quantization == "nf4" else device.torch_dtype.itemsize))


def _matrix_rate(device: Device) -> float:
    """Floating-point operations per second of a matrix product in the device's format."""
    size = 4096 if device.kind == "cuda" else 1024
    left = torch.randn(size, size, device=device.kind, dtype=device.torch_dtype)
    return 2 * size**3 / _fastest(lambda: left @ left, device)


def _read_rate(device: Device) -> float:
    """Bytes per second that a sum over a large array reads."""
    data = torch.ones(2**26, device=device.kind, dtype=torch.float32)
    return data.nbytes / _fastest(lambda: data.sum(), device)


def _fastest(work: Callable[[], torch.Tensor], device: Device) -> float:
    """Seconds of the fastest of a few calls."""
    best = float("inf")
    for _ in range(4):
        began = time.monotonic()
        work()
        if device.kind == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.monotonic() - began)
    return max(best, 1e-6)
