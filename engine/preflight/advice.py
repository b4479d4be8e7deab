"""Which presets' models fit this machine and suit the data, and which to try first, by the estimate's own arithmetic.

Models are compared by what is known: memory, time, context, tools and languages. Nothing ranks families against each
other; of models of which nothing else is known, a larger one is proposed first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from engine.estimate.machine import Speed, inference_seconds, measure, training_seconds, weight_bytes
from engine.local.device import Device, find_device
from engine.preflight.needs import Needs
from engine.preflight.report import ModelAdvice, ModelChoice
from engine.preflight.skeletons import skeleton
from engine.protocol.durations import duration
from engine.settings.preset import Preset, load_all
from engine.settings.schema import Split

ASSUMED = Needs(pairs=200, longest=1_024, mean=256.0, tools=0, calls=0, languages={})
"""What is assumed where no data is given."""

ROUND_S = 3_600.0
"""Seconds of a round above which a model is called slow: a run has up to five."""

LOST_SHARE = 0.05
"""Share of the pairs that a model may lose, or of another language, without being called unsuited."""

GIB = 2**30


@dataclass(frozen=True, slots=True)
class _Look:
    """One preset, looked at: the least memory in bytes, the seconds of a first round, the `most` tokens of a pair."""

    preset: Preset
    training: int
    nf4: int
    answering: int
    seconds: float
    most: int


def choose(needs: Needs | None, split: Split | None = None) -> ModelChoice:
    """All presets, for this machine and for data with these needs."""
    device = find_device()
    return advise(load_all(), device, measure(device), needs, split)


def advise(
    presets: Sequence[Preset], device: Device, speed: Speed, needs: Needs | None, split: Split | None = None
) -> ModelChoice:
    """Look at each preset's model; `split` says how the data is shared out."""
    asked = needs or ASSUMED
    looks = [_look(preset, device, speed, asked, split or Split()) for preset in presets]
    models = [_advice(look, device, asked) for look in looks]
    first = _first(models, looks)
    if first is not None:
        why = "the largest that takes under an hour" if models[first].advice == "fits" else "the fastest"
        whole = f"{models[first].reason}; {why}{'' if models[first].gated else ' and has no licence to accept first'}"
        models[first] = replace(models[first], advice="first", reason=whole)
    assumed = f"none given; assumed: {ASSUMED.pairs} pairs, the longest {ASSUMED.longest:,} tokens"
    return ModelChoice(
        machine=f"{device.name} ({device.kind}, {device.dtype}), {device.memory_free / GIB:.1f} GiB free",
        data=needs.line if needs else assumed,
        models=tuple(models),
    )


def _first(models: list[ModelAdvice], looks: list[_Look]) -> int | None:
    """The place of the model to try first: the largest that fits, else the fastest; rather one that is not gated."""
    places = [place for place, model in enumerate(models) if model.advice == "fits"]
    if places:
        return max(places, key=lambda place: (not models[place].gated, models[place].parameters))
    slow = [place for place, model in enumerate(models) if model.advice == "slow"]
    return min(slow, key=lambda place: (models[place].gated, looks[place].seconds), default=None)


def _look(preset: Preset, device: Device, speed: Speed, needs: Needs, split: Split) -> _Look:
    """The memory for one pair at a time, and the time of a first round."""
    model, parameters = skeleton(preset.name), preset.about.parameters
    plain = model.settings("none")
    answer = model.cache_values * device.torch_dtype.itemsize * (needs.longest + plain.inference.max_new_tokens)
    trained_on = needs.pairs * (1 - split.dev - split.test) * needs.mean
    answered = round(needs.pairs * split.dev)
    return _Look(
        preset=preset,
        training=model.training("none", device, needs.longest),
        nf4=model.training("nf4", device, needs.longest),
        answering=weight_bytes(plain, device, parameters) + answer,
        seconds=training_seconds(plain, parameters, speed, trained_on)
        + inference_seconds(plain, parameters, device, speed, answered),
        most=plain.finetune.max_length,
    )


def _advice(look: _Look, device: Device, needs: Needs) -> ModelAdvice:
    about, preset = look.preset.about, look.preset
    memory, fits = _memory(look, device)
    lacks = list(_lacks(preset, needs))
    return ModelAdvice(
        name=preset.name,
        model=preset.model,
        title=about.label,
        licence=about.licence,
        gated=about.gated,
        parameters=about.parameters,
        context=about.context,
        tools=about.tools,
        spoken=about.spoken,
        training_bytes=look.training,
        nf4_bytes=look.nf4,
        answering_bytes=look.answering,
        advice="unsuited" if lacks else "large" if not fits else "slow" if look.seconds > ROUND_S else "fits",
        reason="; ".join(lacks or [memory, *(_of_use(look, needs) if fits else [])]),
    )


def _of_use(look: _Look, needs: Needs) -> Iterator[str]:
    """The time of a round, and the pairs that training leaves out."""
    yield f"a round takes about {duration(look.seconds)}"
    if needs.longest > look.most:
        yield (
            f"its finetune.max_length leaves out pairs of over {look.most:,} tokens, and the longest has about "
            f"{needs.longest:,}: raise it, which takes more memory"
        )


def _memory(look: _Look, device: Device) -> tuple[str, bool]:
    """What training needs, in words, and whether there is so much; 4 bits are proposed for CUDA GPUs only."""
    free, bits = device.memory_free, 8 * device.torch_dtype.itemsize
    gpu, nf4 = device.kind == "cuda", look.preset.values["local"]["quantization"] == "nf4"
    fits, fits_nf4 = look.training <= free, gpu and look.nf4 <= free
    if fits and not (nf4 and gpu):
        change = '; set local.quantization to "none"' if nf4 else ""
        return f"training takes {_gib(look.training)} in {bits} bits{change}", True
    if fits_nf4:
        whole = f"; {bits} bits would take {_gib(look.training)}" if fits else ""
        change = "" if nf4 else f', set local.quantization to "nf4": {bits} bits take {_gib(look.training)}'
        return f"training takes {_gib(look.nf4)} in 4 bits{change}{whole if nf4 else ''}", True
    needed = f"{_gib(look.training)} in {bits} bits" + (f", {_gib(look.nf4)} in 4" if gpu else "")
    return f"training takes {needed}, and {_gib(free)} are free", False


def _lacks(preset: Preset, needs: Needs) -> Iterator[str]:
    """What the data asks for that the model lacks."""
    about = preset.about
    if about.kind == "base":
        yield "a base model: it learns the form of a chat from your pairs alone"
    if needs.longest > about.context:
        yield f"the longest pair has about {needs.longest:,} tokens, and its context {about.context:,}"
    lost = {"full": 0, "definitions": needs.calls, "none": needs.tools}[about.tools]
    if lost > LOST_SHARE * needs.pairs:
        what = "tools" if about.tools == "none" else "calls of tools"
        yield f"its chat template has no {what}, which {lost:,} of {needs.pairs:,} pairs have"
    unknown = {code: share for code, share in needs.languages.items() if not about.knows(code) and share > LOST_SHARE}
    if unknown:
        found = ", ".join(f"{code} ({share:.0%})" for code, share in unknown.items())
        yield f"its publisher names no {found}, which your texts seem to be in"


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
