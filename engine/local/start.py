"""Loads the weights of an adapter to go on from: all of them, each in its place, from safetensors alone."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from engine.protocol.errors import InputError

WEIGHTS = "adapter_model.safetensors"


def load_start(model: PeftModel, folder: Path) -> None:
    """Put the weights in a folder into the model's new adapter.

    Raises InputError where a tensor is missing, is one too many, has another shape or holds what is no number.
    """
    path = folder / WEIGHTS
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read: {error}", "restore it from a copy") from None
    wanted = get_peft_model_state_dict(model)
    if problem := _problem(found, wanted):
        raise InputError(
            f"{path}: {problem}, so it does not fit this model", "start from one with the same local.adapter"
        )
    set_peft_model_state_dict(model, found)


def _problem(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> str:
    """How the tensors differ from those of the adapter that is trained, "" where they are of its form."""
    if missing := sorted(wanted.keys() - found.keys()):
        return f"{len(missing):,} of {len(wanted):,} tensors are missing, such as {missing[0]}"
    if more := sorted(found.keys() - wanted.keys()):
        return f"{len(more):,} tensors belong nowhere, such as {more[0]}"
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape:
            return f"{name} has the shape {tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
        if not torch.isfinite(tensor).all():
            return f"{name} has values that are not finite"
    return ""
