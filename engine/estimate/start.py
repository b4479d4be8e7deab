"""The estimate that a run keeps from its start, made where its data is read and its model is known."""

from __future__ import annotations

import os
from collections.abc import Sequence

from engine.dataset.split import Splits
from engine.estimate.phases import phases
from engine.local.allotment import see_training_gpu
from engine.local.device import find_device
from engine.local.resolve import ResolvedModel
from engine.local.skeleton import skeleton
from engine.protocol.estimate import RunEstimate
from engine.protocol.rows import Pair
from engine.service import prompts
from engine.settings.schema import Migration


def estimate_run(
    settings: Migration, splits: Splits, resolved: ResolvedModel, again: Sequence[Pair] = ()
) -> RunEstimate:
    """Estimate a run on this machine; the pairs `again`, of an earlier run, are trained on in each round, too.

    No weights are loaded. Raises InputError for a model that cannot be used.
    """
    see_training_gpu(settings, dict(os.environ))
    model = skeleton(resolved, settings.local)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    judging = prompts.load(settings.judge.prompts)
    return RunEstimate(phases=tuple(phases(settings, splits, judging, parameters, find_device(), again)))
