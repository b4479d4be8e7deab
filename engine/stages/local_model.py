"""A run's local LLM: the first stage resolves it, and all later ones use the same weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from engine.local.quantised import usable_checkpoint
from engine.local.resolve import ResolvedModel, resolve
from engine.protocol import checksums
from engine.protocol.errors import StageError
from engine.protocol.events import Emit, Log
from engine.protocol.paths import cache_dir
from engine.protocol.rows import Pair
from engine.protocol.run_dir import Run
from engine.settings.schema import Migration

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from engine.local.template_support import TemplateSupport


def local_model(run: Run, settings: Migration, emit: Emit) -> ResolvedModel:
    """The model on disk; RUN/model.json records its commit, so that a new commit on a branch changes no run.

    It records the run's first day too, which chat templates with a date in them are told on all later days.
    Raises InputError where its files cannot be used, StageError where the weights have changed since the run began.
    """
    pinned = checksums.read_json(run.model_file)
    local = settings.local
    revision = pinned["revision"] if pinned else local.revision
    resolved = resolve(local.model, revision, cache_dir(), lambda line: emit(Log(level="info", message=line)))
    if pinned is None:
        usable_checkpoint(resolved, local)
    elif pinned["digest"] != resolved.digest:
        raise StageError(
            f"the weights of {local.model} have changed since {run.name} began",
            "restore the old weights, or start a new run: rounds of two models can't be compared",
        )
    day = _first_day(run, pinned)
    record = {"revision": resolved.revision, "digest": resolved.digest, "day": day.isoformat()}
    if record != pinned:
        checksums.write_json(run.model_file, record)
    return replace(resolved, day=day)


def _first_day(run: Run, pinned: dict[str, Any] | None) -> date:
    """The recorded day; where an older version recorded none, that on which it found the model."""
    if pinned is None:
        return date.today()
    recorded = pinned.get("day")
    return date.fromisoformat(recorded) if recorded else date.fromtimestamp(run.model_file.stat().st_mtime)


def refuse_limits(
    resolved: ResolvedModel,
    settings: Migration,
    tokenizer: PreTrainedTokenizerBase,
    trained: Sequence[Pair],
    asked: Sequence[Pair],
) -> None:
    """Raise InputError where the model has no embedding for a token, or takes fewer tokens than a text has, or where
    its server would show it other prompts than training does."""
    from engine.local.inference.own_template import refuse_own_template
    from engine.local.limits import refuse_lengths, refuse_tokens
    from engine.local.shape import Shape
    from engine.local.skeleton import load_config

    shape = Shape.of(load_config(resolved, settings.local, usable_checkpoint(resolved, settings.local)))
    refuse_tokens(resolved.name, tokenizer, shape)
    refuse_lengths(
        resolved.name,
        tokenizer,
        shape,
        trained,
        asked,
        max_length=settings.finetune.max_length,
        max_new_tokens=settings.inference.max_new_tokens,
    )
    refuse_own_template(settings.inference, tokenizer, asked)


class Misfits:
    """Says why the local LLM cannot be shown a pair whole, or "".

    The model is found and its tokenizer loaded for the first pair that is more than a question and a text.
    """

    def __init__(self, settings: Migration, resolved: Callable[[], ResolvedModel]) -> None:
        self._settings, self._resolved = settings, resolved
        self._support: TemplateSupport | None = None

    def __call__(self, pair: Pair) -> str:
        if pair.plain:
            return ""
        if self._support is None:
            self._support = self._load()
        return self._support.unsupported(pair)

    @property
    def notes(self) -> Counter[str]:
        """How pairs are changed to fit the model's chat template: each sentence with its number of pairs."""
        return self._support.notes if self._support else Counter()

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer. Raises InputError where it cannot be loaded."""
        from engine.local.tokenizer import load_tokenizer

        return load_tokenizer(self._resolved(), self._settings.local)

    def _load(self) -> TemplateSupport:
        from engine.local.template_support import TemplateSupport

        return TemplateSupport(self.tokenizer)


def misfits(settings: Migration, resolved: Callable[[], ResolvedModel]) -> Misfits:
    """The check of pairs against the local LLM's chat template."""
    return Misfits(settings, resolved)
