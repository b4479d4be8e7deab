"""The environments of the worker's children: of its secrets, only those that each of them needs."""

from __future__ import annotations

from collections.abc import Mapping

from engine.protocol.secrets import HUB, without_secrets
from engine.protocol.stages import FINETUNE, INFER, Stage
from engine.settings.schema import Migration

TRACKERS = {
    "mlflow": ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "wandb": ("WANDB_API_KEY",),
}
"""The variables with keys that a tracker reads, for trainings that report to it."""


def for_messages(settings: Migration, environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that sending messages needs: without the keys of the LLMs.

    Other variables stay, since a command of the user may need them.
    """
    named = settings.notify.variables
    keys = {name for name in environment if name in settings.key_names or name.endswith("_API_KEY")}
    return {name: value for name, value in environment.items() if name in named or name not in keys}


def needed(settings: Migration, stage: Stage, environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a stage in a process of its own needs.

    Such a stage pays no service. It loads models and data from the Hub; trackers of a training, an endpoint that
    answers prompts, and a Ray cluster have keys of their own.
    """
    keep = {*HUB}
    if stage is FINETUNE:
        keep |= {name for tracker in settings.finetune.report_to for name in TRACKERS.get(tracker, ())}
    if stage is INFER and settings.inference.api_key_env:
        keep.add(settings.inference.api_key_env)
    if settings.compute.launcher == "ray":
        keep |= {name for name in environment if name.startswith("RAY_")}
    return without_secrets(environment, settings.key_names, keep)
