"""machine.jsonl: how busy the machine of a run's worker was, from the run's start to its end, in few rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from engine.protocol import records


class Gpu(msgspec.Struct, frozen=True):
    """`busy` in percent, memory in bytes; `index` as nvidia-smi has it ("0", or "0:1" for an instance of MIG).

    `busy`, `power_w` in watts and `celsius` are None where the driver does not tell them.
    """

    busy: float | None
    used: int
    total: int
    index: str = ""
    power_w: float | None = None
    celsius: float | None = None


class Machine(msgspec.Struct, frozen=True):
    """`busy` in percent of all processors, memory in bytes."""

    busy: float
    used: int
    total: int
    gpus: tuple[Gpu, ...] = ()


class MachineRow(msgspec.Struct, frozen=True, kw_only=True):
    """The machine in the `seconds` up to `time`, in seconds since the epoch, with the GPUs that the run uses.

    Loads and power are means over that time; memory and temperature are the highest, which is what runs out.
    """

    time: float
    seconds: float
    machine: Machine


def read(path: Path) -> Iterator[MachineRow]:
    """The rows of a file, oldest first; none without a file. Raises DamagedError where a whole line is none."""
    return records.read(path, MachineRow)


def merged(first: MachineRow, second: MachineRow) -> MachineRow:
    """One row for two that follow each other."""
    a, b = first.machine, second.machine
    weights = first.seconds, second.seconds
    gpus = {gpu.index: (gpu,) for gpu in a.gpus}
    for gpu in b.gpus:
        gpus[gpu.index] = (*gpus.get(gpu.index, ()), gpu)
    return MachineRow(
        time=second.time,
        seconds=first.seconds + second.seconds,
        machine=Machine(
            _mean((a.busy, b.busy), weights) or 0.0,
            max(a.used, b.used),
            b.total,
            tuple(_merged(each, weights) for _, each in sorted(gpus.items())),
        ),
    )


def _merged(gpus: tuple[Gpu, ...], weights: tuple[float, float]) -> Gpu:
    """One GPU at one or two times."""
    if len(gpus) == 1:
        return gpus[0]
    first, second = gpus
    return Gpu(
        _mean((first.busy, second.busy), weights),
        max(first.used, second.used),
        second.total,
        second.index,
        _mean((first.power_w, second.power_w), weights),
        max((one.celsius for one in gpus if one.celsius is not None), default=None),
    )


def _mean(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """The weighted mean of the values that are known."""
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    total = sum(weight for _, weight in known)
    return round(sum(value * weight for value, weight in known) / total, 1) if total else None
