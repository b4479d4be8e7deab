"""The memory of a training, in bytes: `check` shows it, and training chooses its micro-batch by it.

Counted from the modules, per token, for LoRA on frozen weights (Korthikanti et al. 2022, "Reducing Activation
Recomputation in Large Transformer Models", arXiv 2205.05198, section 4.1, count those of full training the same way).
With s bytes a number in the model's format, backward needs:

- of each norm its input in float32: 4 a number of its width, once for each head where it norms heads;
- of each adapted linear layer the input of its adapter, and r numbers between its factors; adapters of layers that read
  the same input share it where there is no dropout, else each has its own with a byte a number that says what is kept
  (of a 4-bit layer on a processor a number in float32);
- of each layer but those that end a block its output, which attention, an activation function or a product keeps; of a
  gate also what its activation function makes of it, and of attention what it returns;
- the weights, the adapter in float32 with its gradient, Adam's two moments and its copy in the model's format, and the
  logits of the response.

The attention of torch keeps nothing that grows with the square of the length; grouped attention, on a processor and for
short pairs, keeps its weights: a number for each pair of tokens and head.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora.layer import LoraLayer

from engine.local.attention import LONGEST, is_grouped
from engine.local.device import Device
from engine.local.training.fit import Fit
from engine.settings.local import Finetune
from engine.settings.schema import Migration

LOGIT_BYTES = 12
"""Bytes of a logit: in the model's format, in float32, and the gradients of both."""

LOGITS_ROOM = 2**29
"""Bytes of logits in memory at a time on CUDA, where TRL's fused output layer computes them in pieces, at most."""

RESPONSE_SHARE = 1 / 2
"""Share of a pair's tokens that have logits elsewhere, at most: a response is seldom longer than its prompt."""

PROCESS = 600 * 2**20
"""Bytes of a process on a processor before it loads a model: torch, transformers and what they load."""

SLACK = 1.1
"""What allocators lose between blocks."""

GPU_SHARE = 0.9
"""Share of a GPU's free memory that training may take: others may use the same GPU."""

MAIN_SHARE = 0.6
"""Share of a machine's whole memory that training may take: what is free changes from moment to moment, and the same
run should be cut the same way each time."""

_ENDS_OF_BLOCKS = frozenset(
    ("o_proj", "out_proj", "dense", "c_proj", "wo", "down_proj", "fc2", "w2", "dense_4h_to_h", "output_linear")
)
"""What architectures call the layers that write to the residual stream, whose sum no backward pass needs."""

NF4_SHARE = 1 / 2 + 1 / 64 + 4 / (64 * 256)
"""Bytes a weight of a 4-bit layer: 4 bits, a scale of 8 bits for 64 weights, and one of 32 bits for 256 of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMemory:
    """What training takes: `fixed` always, `token` for each token in a pass, `layer` of that in one layer, and `logits`
    for each up to `logits_room`.

    With recomputed activations `kept` is what a token takes instead, and one layer's are there while it is computed
    again. `attention` is what grouped attention keeps for each token and each that it attends to, in all layers.
    """

    fixed: int
    token: int
    layer: int
    kept: int
    logits: int
    logits_room: int = LOGITS_ROOM
    attention: int = 0

    def bytes(self, fit: Fit, length: int) -> int:
        """The peak with pairs of this many tokens."""
        token, tokens = self.kept + self.layer if fit.recompute else self.token, length * fit.micro_batch
        if length <= LONGEST and not fit.recompute:
            token += self.attention * length
        return int((self.fixed + token * tokens + min(self.logits * tokens, self.logits_room)) * SLACK)

    def fit(self, room: int, length: int, pairs: int) -> Fit:
        """The most pairs in a pass, of so many, that fit into so many bytes; recomputed where not even one does."""
        for micro in range(pairs, 0, -1):
            if pairs % micro == 0 and self.bytes(Fit(micro, False), length) <= room:
                return Fit(micro, False)
        micro = next((n for n in range(pairs, 1, -1) if self.bytes(Fit(n, True), length) <= room), 1)
        return Fit(micro, True)


def first_fit(needed: TrainingMemory, finetune: Finetune, device: Device, length: int, processes: int) -> Fit:
    """How a step is cut, with pairs of at most `length` tokens: as the settings say, else as it fits."""
    fits = needed.fit(room(device, processes), length, share_of(finetune, processes))
    return overridden(fits, finetune, processes)


def overridden(fit: Fit, finetune: Finetune, processes: int) -> Fit:
    """A way to cut a step, with what the settings say in its place."""
    chosen = finetune.gradient_checkpointing
    return Fit(
        min(share_of(finetune, processes), finetune.micro_batch or fit.micro_batch),
        fit.recompute if chosen == "auto" else chosen == "on",
    )


def share_of(finetune: Finetune, processes: int) -> int:
    """A process's pairs of a batch, at most."""
    return -(-finetune.batch_size // processes)


def room(device: Device, processes: int) -> int:
    """The bytes that a process's training may take, its weights included; a GPU is a process's own."""
    if device.kind == "cuda":
        return int(device.memory_free * GPU_SHARE)
    return int(device.memory_total * MAIN_SHARE) // processes


def memory(model: PeftModel, settings: Migration, device: Device) -> TrainingMemory:
    """The memory of training a model, which may be without its weights (on the meta device)."""
    base: Any = model.get_base_model()
    config = base.config.get_text_config()
    size = 2 if settings.local.quantization == "nf4" else device.torch_dtype.itemsize
    token = sum(
        [*_of_norms(model, config), *_of_linears(model, settings, device, size), *_of_experts(model, config, size)]
    )
    layers: int = config.num_hidden_layers
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return TrainingMemory(
        fixed=_weights(model, settings, size) + (16 + size) * trained + (PROCESS if device.kind == "cpu" else 0),
        token=token,
        layer=token // layers,
        kept=layers * config.hidden_size * size,
        logits=int(config.vocab_size * LOGIT_BYTES * (1 if device.kind == "cuda" else RESPONSE_SHARE)),
        logits_room=LOGITS_ROOM if device.kind == "cuda" else sys.maxsize,
        attention=layers * config.num_attention_heads * size if device.kind == "cpu" and is_grouped(base) else 0,
    )


def _weights(model: PeftModel, settings: Migration, size: int) -> int:
    """The bytes of the frozen weights: as they are, or as they will be once they are loaded."""
    total = 0.0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            continue
        if not parameter.is_meta:
            total += parameter.numel() * parameter.element_size()
        elif settings.local.quantization == "nf4" and ".base_layer." in name and parameter.dim() == 2:
            total += parameter.numel() * NF4_SHARE
        else:
            total += parameter.numel() * size
    return int(total)


def _of_norms(model: torch.nn.Module, config: Any) -> Iterator[int]:
    """Bytes a token of each norm's input; one over heads is as wide as all of them."""
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if "norm" not in type(module).__name__.lower() or weight is None:
            continue
        width = weight.numel()
        if name.endswith(("q_norm", "k_norm", "q_layernorm", "k_layernorm")):
            heads = config.num_key_value_heads if ".k_" in name else config.num_attention_heads
            width = max(width, heads * (width if width < config.hidden_size else 0))
        yield 4 * width


def _of_linears(model: torch.nn.Module, settings: Migration, device: Device, size: int) -> Iterator[int]:
    """Bytes a token of each adapted layer: its adapter's input, between its factors, and its output where kept."""
    adapter, quantised = settings.local.adapter, settings.local.quantization == "nf4"
    # peft computes the adapter of a quantised layer in float32, on a copy of the input.
    number = 4 if quantised else size
    shared: set[tuple[str, int]] = set()
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        known: Any = module
        parent, wide, narrow = name.rpartition(".")[0], int(known.in_features), int(known.out_features)
        if adapter.dropout:
            noise = number if quantised and device.kind == "cpu" else 1
            yield wide * (number + noise)
        elif quantised or (parent, wide) not in shared:
            yield wide * number
        shared.add((parent, wide))
        yield adapter.r * number
        layer = name.rpartition(".")[2]
        if layer not in _ENDS_OF_BLOCKS:
            yield narrow * size
            # Of a gate alone, and of one that is a layer with the values it multiplies.
            yield {"gate_proj": 2, "w1": 2, "gate_up_proj": 1}.get(layer, 0) * narrow * size // 2
        elif "attn" in parent.rpartition(".")[2] and (adapter.dropout or quantised):
            yield wide * size


def _of_experts(model: torch.nn.Module, config: Any, size: int) -> Iterator[int]:
    """Bytes a token of each layer's frozen experts: their inputs, the products of their gates, and their results."""
    chosen = getattr(config, "num_experts_per_tok", None)
    for module in model.modules() if chosen else ():
        if any(parameter.dim() == 3 for parameter in module.parameters(recurse=False)):
            width = getattr(config, "moe_intermediate_size", None) or config.intermediate_size
            yield chosen * (4 * width + 2 * config.hidden_size) * size
