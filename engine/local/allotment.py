"""Which GPUs the process of a stage gets, and how many processes share the stage.

Neither torch nor CUDA is asked: the worker decides before it starts a process, and CUDA_VISIBLE_DEVICES tells that
process. A single process sees a single GPU, since transformers would spread its batches over all that it sees
(`nn.DataParallel`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.local.gpus import VISIBLE, Gpu, named, visible
from engine.protocol.errors import InputError
from engine.protocol.stages import FINETUNE, INFER, Stage
from engine.settings.local import Compute
from engine.settings.schema import Migration

FREE = 0.8
"""Share of a GPU's memory that must be free where the settings name none: less means that somebody else works on it."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """`processes` None: one for each GPU that torch finds, where the driver's library can't count them.

    `gpus` None leaves the environment as it is: there are none, or they are not NVIDIA's. `reason` is for people.
    """

    processes: int | None = 1
    gpus: tuple[Gpu, ...] | None = None
    reason: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What a process must see of the GPUs."""
        return {} if self.gpus is None else {VISIBLE: ",".join(gpu.name for gpu in self.gpus)}


def allot(settings: Migration, stage: Stage, environment: Mapping[str, str]) -> Allotment:
    """The processes and GPUs of a stage on this machine.

    Raises InputError where the settings name a GPU that is not there, or more processes than there are GPUs.
    """
    compute, shared, seen = settings.compute, is_shared(settings, stage), visible(environment)
    if not seen:
        return _blind(compute, shared, environment)
    candidates, reason = _candidates(compute.devices, seen)
    if not stage.parallel:
        return Allotment(1, _freest(candidates, 1))
    if shared and stage is FINETUNE and any(gpu.is_instance for gpu in candidates):
        shared, reason = False, f"{reason}; instances of MIG can't share a training, as NCCL doesn't connect them"
    if not shared:
        # A server that the stage starts is one process to us, and spreads its work over the GPUs that it sees.
        several = compute.launcher == "torchrun" and stage is INFER and settings.inference.backend != "transformers"
        chosen = _several(compute, candidates, seen) if several else _freest(candidates, 1)
        return Allotment(1, chosen, _explained(chosen, seen, reason))
    chosen = _several(compute, candidates, seen)
    return Allotment(len(chosen), chosen, _explained(chosen, seen, reason))


def _several(compute: Compute, candidates: Sequence[Gpu], seen: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """All GPUs that may be used, or as many as processes are asked for."""
    if compute.processes is None:
        chosen = _freest(candidates, len(candidates))
    else:  # asked for by number, so those that others use count too
        chosen = _freest(candidates if compute.devices else seen, compute.processes)
    if compute.processes is not None and len(chosen) < compute.processes:
        raise InputError(
            f"compute.processes: {compute.processes} processes need as many GPUs, and {len(chosen)} can be used",
            "lower compute.processes, or list more GPUs in compute.devices",
        )
    return chosen


def _blind(compute: Compute, shared: bool, environment: Mapping[str, str]) -> Allotment:
    """Without NVIDIA GPUs; other makers' are unknown here, and one process must not spread over them either."""
    if compute.devices:
        listed = environment.get(VISIBLE)
        sight = "the driver reports none" if listed is None else f"{VISIBLE} is {listed!r}"
        raise InputError(
            f"compute.devices: no NVIDIA GPU can be seen: {sight}",
            "remove compute.devices, or run `llamaduo-tui doctor`",
        )
    if shared:
        return Allotment(compute.processes)
    chosen_already = {VISIBLE, "HIP_VISIBLE_DEVICES"} & environment.keys()
    return Allotment(1, None if chosen_already else (Gpu("0", "0"),))


def is_free(gpu: Gpu) -> bool:
    """Whether nobody else uses a GPU, as far as the driver can tell."""
    return gpu.free is None or gpu.total is None or gpu.free >= FREE * gpu.total


def default_gpu(gpus: list[Gpu]) -> Gpu | None:
    """The GPU of a single process whose settings name none; None where there is none."""
    return next(iter(_freest(_candidates(None, gpus)[0], 1)), None) if gpus else None


def is_shared(settings: Migration, stage: Stage) -> bool:
    """Whether several processes work on a stage; other backends than transformers answer in processes of their own."""
    if not stage.parallel or settings.compute.launcher == "direct":
        return False
    return stage is not INFER or settings.inference.backend == "transformers"


def _candidates(devices: Sequence[str] | None, seen: list[Gpu]) -> tuple[list[Gpu], str]:
    """The GPUs that may be used, and why these."""
    if devices is not None:
        found = [_device(device, seen) for device in devices]
        if len(set(found)) < len(found):
            raise InputError(f"compute.devices: {', '.join(devices)} name a GPU twice", "list each GPU once")
        return found, "named in compute.devices"
    free = [gpu for gpu in seen if is_free(gpu)]
    if free:
        known = all(gpu.free is not None for gpu in free)
        return free, "free" if known else f"the order of {VISIBLE}, as the driver can't tell which GPUs it names"
    return list(_freest(seen, 1)), "no GPU is free, and this one has the most free memory"


def _device(device: str, seen: list[Gpu]) -> Gpu:
    found = next((gpu for gpu in seen if gpu.index == device), None) or named(device, seen)
    if found is None:
        known = ", ".join(map(str, seen))
        raise InputError(f"compute.devices: no GPU {device}; there are {known}", "list other ones in compute.devices")
    return found


def _freest(gpus: Sequence[Gpu], count: int) -> tuple[Gpu, ...]:
    """The `count` GPUs with the most free memory, in the order given; the first ones where memory is unknown."""
    best = sorted(range(len(gpus)), key=lambda place: (-(gpus[place].free or 0), place))[:count]
    return tuple(gpus[place] for place in sorted(best))


def _explained(chosen: Sequence[Gpu], seen: Sequence[Gpu], reason: str) -> str:
    """The GPUs that are used and why, then those that are not."""
    said = f"uses {', '.join(map(str, chosen))}: {reason}"
    left = [gpu for gpu in seen if gpu not in chosen]
    return f"{said}; not used: {', '.join(map(str, left))}" if left else said


def see_training_gpu(settings: Migration, environment: Mapping[str, str]) -> None:
    """Let this process see only the first GPU that training will use, so that its memory and speed are measured.

    `environment` is the one that the run starts in. That of this process is changed, so call it before CUDA starts.
    Raises InputError where training can use no GPU that it needs.
    """
    if settings.compute.launcher == "ray":
        return
    gpus = allot(settings, FINETUNE, environment).gpus
    if gpus and gpus[0].total is not None:
        os.environ[VISIBLE] = gpus[0].name
