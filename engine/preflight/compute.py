"""What pre-flight says about the GPUs and the cluster: which are used and why, and what the model needs of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from engine.local.allotment import allot, see_training_gpu
from engine.local.gpus import GIB
from engine.preflight.report import Estimate
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.stages import FINETUNE, INFER
from engine.settings.schema import Migration

GATHERED = 2
"""Layers whose weights are whole on each GPU at a time: the one that is computed, and the next, fetched meanwhile."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What the settings ask of this machine or of a cluster; `environment` is the one that a run will start in."""

    settings: Migration
    environment: Mapping[str, str]

    def problems(self) -> Iterator[LlamaDuoError]:
        """The problems that training and answering would have with the GPUs of this machine, or without Ray."""
        compute = self.settings.compute
        if compute.strategy == "fsdp" and self.settings.local.quantization == "nf4":
            yield InputError(
                'compute.strategy: "fsdp" can\'t share weights in nf4',
                'set local.quantization to "none", or compute.strategy to "ddp"',
            )
        if compute.launcher == "ray":
            if importlib.util.find_spec("ray") is None:
                yield InputError(
                    'compute.launcher: "ray" needs Ray, which is not installed',
                    "run: pip install 'llamaduo-tui[ray]', with the cluster's version of Ray, on all of its nodes too",
                )
            return
        try:
            allotted = allot(self.settings, FINETUNE, self.environment)
        except InputError as error:
            yield error
            return
        if allotted.processes is None and not _has_gpu():
            yield InputError(
                "compute.launcher: torchrun starts one process per GPU, and this machine has none",
                'set compute.processes, or launcher = "direct"',
            )
        elif compute.strategy == "fsdp" and allotted.gpus is None and not _has_gpu():
            yield InputError('compute.strategy: "fsdp" needs GPUs', 'set compute.strategy to "ddp"')

    def notes(self) -> Iterator[str]:
        """Which GPUs training and answering would use now, and why these."""
        if self.settings.compute.launcher == "ray":
            backend = self.settings.inference.backend
            if backend != "transformers":
                yield f'answering runs on this machine, not on the cluster: inference.backend is "{backend}"'
            return
        with suppress(InputError):  # one of the problems
            training, answers = (allot(self.settings, stage, self.environment).reason for stage in (FINETUNE, INFER))
            if training == answers:
                yield from filter(None, [training])
            else:
                yield f"training {training}"
                yield f"answering {answers}"

    def use(self) -> None:
        """Let this process see only the first GPU that training will use, so that its memory and speed are measured.

        It changes the environment of this process, so call it before CUDA starts.
        """
        with suppress(InputError):  # one of the problems
            see_training_gpu(self.settings, self.environment)

    def memory_problems(self, estimate: Estimate) -> Iterator[LlamaDuoError]:
        """The problems that training or answering does not fit into the memory of one GPU, or of this machine."""
        yield from self._training_memory(estimate)
        needed, free = estimate.answering_bytes, estimate.memory_free_bytes
        if needed > free and self.settings.compute.launcher != "ray":
            fewer = "lower inference.batch_size, " if self.settings.inference.batch_size else ""
            yield InputError(
                f"answering needs about {needed / GIB:.1f} GiB, and {estimate.device} has {free / GIB:.1f} GiB free",
                f"{fewer}set local.quantization to nf4, or choose a smaller model",
            )

    def _training_memory(self, estimate: Estimate) -> Iterator[LlamaDuoError]:
        compute, gpus, free = self.settings.compute, self._sharing(), estimate.memory_free_bytes
        sharded = estimate.memory_bytes
        if gpus > 1 and self.settings.local.quantization == "none":
            kept = estimate.layers_bytes // gpus + GATHERED * estimate.layer_bytes
            sharded -= max(0, estimate.layers_bytes - kept)  # all else is on each of them
        needed = sharded if compute.strategy == "fsdp" else estimate.memory_bytes
        if needed <= free or compute.launcher == "ray":
            return
        hint = "set local.quantization to nf4, lower finetune.max_length, or choose a smaller model"
        if sharded <= free:
            hint = (
                f"share the weights between {gpus} GPUs, {sharded / GIB:.1f} GiB on each: "
                f'set compute.launcher to "torchrun" and compute.strategy to "fsdp"; or {hint}'
            )
        yield InputError(
            f"training needs about {needed / GIB:.1f} GiB, and {estimate.device} has {free / GIB:.1f} GiB free", hint
        )

    def _sharing(self) -> int:
        """How many GPUs of this machine could share the weights; 0 where there are none."""
        compute = self.settings.compute.model_copy(update={"launcher": "torchrun", "strategy": "fsdp"})
        try:
            allotted = allot(self.settings.model_copy(update={"compute": compute}), FINETUNE, self.environment)
        except InputError:  # one of the problems
            return 0
        return len(allotted.gpus or ())


def _has_gpu() -> bool:
    from engine.local.device import find_device  # imports torch

    return find_device().kind == "cuda"
