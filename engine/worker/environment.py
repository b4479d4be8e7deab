"""The environment of a stage's processes: of the worker's secrets, only those that the stage needs."""

from __future__ import annotations

from collections.abc import Mapping

from engine.protocol.secrets import without_secrets
from engine.protocol.stages import FINETUNE, INFER, Stage
from engine.settings.schema import Migration

HUB = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
TRACKERS = {
    "mlflow": ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "wandb": ("WANDB_API_KEY",),
}
"""The variables with keys that a tracker reads, for trainings that report to it."""


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
