"""How the local LLM answers: `base` says what a backend does, each other module is one of them or a part of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.local.inference.base import Inference, Place
from engine.settings.schema import Migration

if TYPE_CHECKING:
    from engine.local.resolve import ResolvedModel


def load_inference(settings: Migration, model: ResolvedModel, place: Place) -> Inference:
    """The backend that the settings name, ready to answer; without an adapter the untuned model answers.

    Raises InputError where the model or the adapter cannot be used.
    """
    match settings.inference.backend:
        case "transformers":
            from engine.local.inference.transformers import Transformers

            return Transformers(settings, model, place)
        case "vllm":
            from engine.local.inference.vllm import Vllm

            return Vllm(settings, model, place)
        case "endpoint":
            from engine.local.inference.endpoint import Endpoint

            return Endpoint(settings, model, place)
