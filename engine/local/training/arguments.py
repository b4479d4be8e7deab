"""The settings of a training as TRL's SFTConfig.

The number of epochs is found while training, so that a cosine over the most epochs would be cut where it is still high.
The default is warm-up, stable, decay instead: the rate stays at its peak until the dev loss no longer falls; then the
best state is taken up again and the rate decays from there over a fifth of all steps, which ends where a cosine over
just that many steps would (Hägele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
Durations", arXiv 2405.18392, section 3, with the 1 - sqrt decay of their figure 5; Hu et al. 2024, MiniCPM, arXiv
2404.06395, section 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trl.trainer.sft_config import SFTConfig

from engine.local.device import Device
from engine.local.training.fit import Fit
from engine.local.training.reporting import PROJECT
from engine.local.world import world_size
from engine.settings.schema import Migration

UNMEASURED_EPOCHS = 3
"""Epochs, at most, where no dev loss tells when to stop."""

DECAY = 0.2
"""Share of the steps in which the rate decays."""

WARMUP_EPOCHS = 3
"""The warm-up is a share of at most so many epochs, since a training of at most 10 often stops after two."""

MEASUREMENTS = 4
"""Measurements of the dev loss in an epoch, at most."""

STEPS_BETWEEN = 50
"""Steps between two of them, at least: a shorter epoch is measured at its end alone."""

DEV_SHARE = 0.5
"""Tokens of all measurements of an epoch over its trained ones, at most: a forward pass takes a third of a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """When a training measures, and when its rate warms up and decays, in steps."""

    total: int
    warmup: int
    decay: int
    between: int
    patience: int
    """Measurements without a lower dev loss after which training stops; 0 for never."""

    @classmethod
    def of(cls, settings: Migration, per_epoch: int, tokens: int, dev_tokens: int) -> Plan:
        """The plan of epochs of so many steps and tokens."""
        chosen = settings.finetune
        epochs = chosen.epochs if dev_tokens else min(chosen.epochs, UNMEASURED_EPOCHS)
        affordable = int(tokens * DEV_SHARE / max(1, dev_tokens))
        measurements = max(1, min(MEASUREMENTS, per_epoch // STEPS_BETWEEN, affordable))
        total = per_epoch * epochs
        return cls(
            total=total,
            warmup=math.ceil(chosen.warmup * per_epoch * min(epochs, WARMUP_EPOCHS)),
            decay=max(1, round(total * DECAY)),
            between=-(-per_epoch // measurements),
            patience=max(1, math.ceil(chosen.patience * measurements)) if chosen.patience else 0,
        )

    def decaying_from(self, step: int) -> Plan:
        """This plan with the decay brought forward to a step, a fifth of all steps then too, and without a stop."""
        decay = max(1, round(step * DECAY / (1 - DECAY)))
        return Plan(total=step + decay, warmup=min(self.warmup, step), decay=decay, between=self.between, patience=0)


class PlacedConfig(SFTConfig):
    """Arguments for a model that was loaded to its device, or is shared between processes, and stays there."""

    @property
    def place_model_on_device(self) -> bool:
        return False


def arguments(
    settings: Migration, device: Device, plan: Plan, fit: Fit, folder: Path, *, dev: bool, known: bool
) -> SFTConfig:
    """A training whose checkpoints are in a folder.

    `dev` says whether there is a dev loss, `known` whether that of the beginning is known: another training, which
    this one goes on from, measured it.
    """
    chosen = settings.finetune
    liger = device.kind == "cuda" and find_spec("liger_kernel") is not None
    stable = chosen.scheduler == "warmup_stable_decay"
    decay: dict[str, Any] = {"num_decay_steps": plan.decay, "decay_type": "1-sqrt"} if stable else {}
    return PlacedConfig(
        output_dir=str(folder),
        project=PROJECT,
        # 1. Optimisation.
        max_steps=plan.total,
        learning_rate=chosen.learning_rate,
        lr_scheduler_type="constant_with_warmup" if chosen.scheduler == "constant" else chosen.scheduler,
        lr_scheduler_kwargs=decay,
        warmup_steps=plan.warmup,
        weight_decay=chosen.weight_decay,
        optim="adamw_torch" if device.kind == "mps" else "adamw_torch_fused",
        seed=settings.loop.seed,
        max_length=None,
        # 2. Memory and device: a step has the whole batch, which the trainer cuts as it fits.
        per_device_train_batch_size=-(-chosen.batch_size // world_size()),
        per_device_eval_batch_size=-(-chosen.batch_size // world_size()),
        activation_checkpointing=fit.recompute,
        activation_checkpointing_kwargs={"use_reentrant": False},
        use_cpu=device.kind == "cpu",
        # The weights have the right format already; autocast would only copy them.
        bf16=False,
        fp16=device.dtype == "float16",
        use_liger_kernel=liger,
        liger_kernel_config={"fused_linear_cross_entropy": False, "cross_entropy": False} if liger else None,
        # 3. Checkpoints: where the dev loss is lower than before, and the best at the end.
        eval_strategy="steps" if dev else "no",
        eval_steps=plan.between if dev else None,
        eval_on_start=dev and not known,
        save_strategy="best" if dev else "no",
        save_total_limit=2,
        load_best_model_at_end=dev,
        metric_for_best_model="eval_loss" if dev else None,
        greater_is_better=False if dev else None,
        restore_callback_states_from_checkpoint=plan.patience > 0,
        # 4. Logging.
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
    )
