"""The earlier run whose adapter a run starts from: where that adapter is, whether it fits, and what it has seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.dataset.contamination import Fingerprint, fingerprints
from engine.dataset.data_filter import DataFilter
from engine.dataset.prepare import read_dev, read_fingerprints, read_train
from engine.dataset.split import Known, Splits
from engine.local.resolve import ResolvedModel
from engine.protocol import checksums, commands
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.manifest import changes, manifest
from engine.protocol.rows import Chat, Pair, prompt_id
from engine.protocol.run_dir import Run
from engine.protocol.stages import FINETUNE, SYNTHESIZE
from engine.settings.load import settings_of
from engine.settings.local import Adapter
from engine.settings.schema import Migration, Synthesis
from engine.stages.training_mix import training_mix

WEIGHTS = "adapter_model.safetensors"
CHOOSE = "name another run in finetune.start_from, or leave it out to start from the base model"


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier run and its best round, whose adapter is in the folder `adapter`."""

    run: Run
    round: int

    @property
    def adapter(self) -> Path:
        return FINETUNE.folder(self.run, self.round) / "adapter"


def earlier(settings: Migration) -> Earlier | None:
    """The run that `finetune.start_from` names; None where it names none.

    Raises InputError where that is no run that has ended with a tuned model, or its adapter is not as it was written,
    not in safetensors, or of another shape or kind of base than these settings say.
    """
    if settings.finetune.start_from is None:
        return None
    run = Run(Path(settings.finetune.start_from))
    if not run.folder.is_dir() or not run.is_run:
        raise _unusable(run, "no run is there")
    number = best_round(run)
    if number is None:
        raise _unusable(run, "it has not ended")
    if number == 0:
        raise _unusable(run, "its best model is the untuned one, so it has no adapter to start from")
    found = Earlier(run, number)
    _check_files(found)
    _check_settings(found, settings)
    return found


def best_round(run: Run) -> int | None:
    """The best round of a run that has ended, 0 for the untuned model; None while it has not."""
    try:
        final = run.final_decision()
    except LlamaDuoError as error:
        raise _unusable(run, error.message) from None
    return None if final is None else final.best_round


def refuse_other_base(found: Earlier, resolved: ResolvedModel) -> None:
    """Raise InputError where the earlier adapter was trained on other weights than those of the local model."""
    pinned = checksums.read_json(found.run.model_file)
    if pinned is None or pinned.get("digest") != resolved.digest:
        raise _unusable(
            found.run,
            f"its adapter belongs to other weights than those of {resolved.name}",
            f"set local.model to that of {found.run.name}, or leave finetune.start_from out",
        )


def seen(start_from: str | None) -> Known:
    """The pairs that the adapter of the run in this folder was trained on, and those that steered its training.

    Those of the runs before it count, too; None names no run. Raises InputError where one can no longer be read.
    """
    trained, steered = list[Pair](), list[Pair]()
    for run in _chain(start_from):
        trained += trained_on(run, settings_of(run))
        steered += read_dev(run.coverage)
    return Known(trained, steered)


def replayed(settings: Migration, coverage: Path) -> list[Pair]:
    """`trained_again` of a run whose data is prepared in the folder `coverage`. Raises InputError as `seen` does."""
    if settings.finetune.start_from is None:
        return []
    known = seen(settings.finetune.start_from)
    train, dev = read_train(coverage), read_dev(coverage)
    return trained_again(settings.synthesis, known, train, dev, lambda: read_fingerprints(coverage))


def trained_again(
    synthesis: Synthesis,
    known: Known,
    train: Sequence[Pair],
    dev: Sequence[Pair],
    held_out: Callable[[], Sequence[Fingerprint]],
) -> list[Pair]:
    """The pairs that the adapter to start from was trained on and that a run's own data lacks: the synthetic ones.

    They are trained on again, so that what they taught is not forgotten; one that repeats or contains a prompt of dev
    or test, whose fingerprints are `held_out`, is left out.
    """
    own = {pair.id for pair in [*train, *dev]}
    pairs = list({pair.id: pair for pair in known.trained if pair.id not in own}.values())
    leaks = DataFilter(synthesis, held_out(), train).leaks(pairs) if pairs else []
    return [pair for pair, leak in zip(pairs, leaks, strict=True) if not leak]


def trained_again_with(synthesis: Synthesis, known: Known, splits: Splits) -> list[Pair]:
    """`trained_again` of a run with these splits, which need not be written yet."""
    held_out = [*splits.dev, *splits.test]
    return trained_again(synthesis, known, splits.train, splits.dev, lambda: list(fingerprints(held_out)))


def trained_on(run: Run, settings: Migration) -> list[Pair]:
    """The pairs that a run trained on, synthetic ones included. Raises InputError where its data is not there."""
    synthetic = sorted(folder for folder in run.folder.glob(f"round-*/{SYNTHESIZE.name}") if manifest(folder))
    mix = training_mix(run.coverage, synthetic, commands.pair_choices(run.commands_file), settings.synthesis)
    return [_pair(chat) for chat in mix.chats]


def _chain(name: str | None) -> Iterator[Run]:
    """The run in this folder, the one that it started from, and so on."""
    passed = set[Path]()
    while name is not None:
        run = Run(Path(name).resolve())
        if run.folder in passed:
            raise _unusable(run, "it started from itself")
        passed.add(run.folder)
        try:
            name = settings_of(run).finetune.start_from
        except LlamaDuoError as error:
            raise _unusable(run, f"nobody can tell what its adapter was trained on: {error.message}") from None
        yield run


def _check_files(found: Earlier) -> None:
    if not (found.adapter / WEIGHTS).is_file():
        raise _unusable(found.run, f"round {found.round} has no {WEIGHTS}, and weights are read from safetensors alone")
    folder = found.adapter.parent
    try:
        known = manifest(folder)
        changed = next(iter(changes(folder, known)), None) if known is not None else None
    except LlamaDuoError as error:
        raise _unusable(found.run, error.message) from None
    if known is None:
        raise _unusable(found.run, f"the training of round {found.round} is not complete")
    if changed is not None:
        place = changed.path.relative_to(found.run.folder)
        raise _unusable(found.run, f"{place} {changed.how} since it was trained", "restore it from a copy")


def _check_settings(found: Earlier, settings: Migration) -> None:
    """Raise InputError where the adapter is of another shape, or its base is held in another number format."""
    try:
        theirs = settings_of(found.run).local
    except LlamaDuoError as error:
        raise _unusable(found.run, error.message) from None
    ours = settings.local
    if theirs.quantization != ours.quantization:
        raise _unusable(
            found.run,
            f'it has local.quantization = "{theirs.quantization}"',
            f'set local.quantization = "{theirs.quantization}"',
        )
    if differing := _differing(theirs.adapter, ours.adapter):
        shown = ", ".join(f"local.adapter.{name} = {getattr(theirs.adapter, name)!r}" for name in differing)
        raise _unusable(found.run, f"its adapter has {shown}", f"set {shown}")


def _differing(theirs: Adapter, ours: Adapter) -> Sequence[str]:
    """The settings that make an adapter another one; dropout makes none."""
    return [name for name in Adapter.model_fields if name != "dropout" and getattr(theirs, name) != getattr(ours, name)]


def _pair(chat: Chat) -> Pair:
    return Pair(id=prompt_id(chat.messages[:-1], chat.tools), messages=chat.messages, tools=chat.tools)


def _unusable(run: Run, why: str, hint: str = CHOOSE) -> InputError:
    return InputError(f"finetune.start_from: {run.folder}: {why}", hint)
