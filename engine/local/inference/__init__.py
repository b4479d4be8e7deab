"""How the local LLM answers: `base` says what a backend does, each other module is one of them or a part of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.local.inference.base import Inference
from engine.settings.schema import Migration

if TYPE_CHECKING:
    from engine.local.resolve import ResolvedModel


def load_inference(settings: Migration, model: ResolvedModel, adapter: Path | None) -> Inference:
    """The backend that the settings name, ready to answer; without an adapter the untuned model answers.

    Raises InputError where the model or the adapter cannot be used.
    """
    match settings.inference.backend:
        case "transformers":
            from engine.local.inference.transformers import Transformers

            return Transformers(settings, model, adapter)
