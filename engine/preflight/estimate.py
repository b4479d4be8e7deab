"""What a run would take: tokens and money from the data, seconds and memory from the model and this machine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from peft import PeftModel

from engine.dataset.split import Splits
from engine.estimate.machine import answering_memory, layer_bytes, training_memory
from engine.estimate.phases import phases as phases_of
from engine.local.device import Device
from engine.local.lora import add_adapter
from engine.local.resolve import ResolvedModel
from engine.local.skeleton import skeleton
from engine.preflight.report import Estimate
from engine.protocol.estimate import PhaseEstimate
from engine.protocol.rows import Pair
from engine.service.prompts import Prompts
from engine.settings.schema import Migration


def estimate(
    settings: Migration,
    splits: Splits,
    prompts: Prompts,
    resolved: ResolvedModel,
    device: Device,
    longest: int,
    again: Sequence[Pair] = (),
) -> Estimate:
    """Estimate a run on this machine; `longest` are the tokens of the longest pair. No weights are loaded.

    The pairs `again`, of an earlier run, are trained on in each round, too.
    """
    model = _skeleton(resolved, settings)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    phases = list(phases_of(settings, splits, prompts, parameters, device, again))
    most = _sum(phases)
    return Estimate(
        train=len(splits.train),
        dev=len(splits.dev),
        test=len(splits.test),
        calls_most=most.calls,
        tokens_most=most.tokens,
        usd_most=most.usd,
        seconds_most=most.seconds,
        memory_bytes=training_memory(model, settings, device, longest),
        memory_free_bytes=device.memory_free,
        answering_bytes=answering_memory(model, settings, device, longest),
        layers_bytes=sum(layers := layer_bytes(model, device)),
        layer_bytes=max(layers),
        parameters=parameters,
        device=f"{device.name} ({device.kind}, {device.dtype})",
        batch=settings.service.batch,
        phases=tuple(phases),
    )


def _sum(phases: Sequence[PhaseEstimate]) -> PhaseEstimate:
    usd = [phase.usd for phase in phases]
    return PhaseEstimate(
        name="at most",
        calls=sum(phase.calls for phase in phases),
        tokens=sum(phase.tokens for phase in phases),
        usd=None if None in usd else round(sum(filter(None, usd)), 4),
        seconds=sum(phase.seconds for phase in phases),
    )


def _skeleton(resolved: ResolvedModel, settings: Migration) -> PeftModel:
    """The model with its adapter, without memory for its weights."""
    model = skeleton(resolved, settings.local)
    with torch.device("meta"):
        return add_adapter(model, settings.local.adapter)
