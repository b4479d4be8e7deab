"""What would go wrong in training, found before anything is paid: pairs too long, packages missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from engine.dataset.split import Splits
from engine.local.lengths import Lengths, measure, too_long
from engine.protocol.counts import number_of
from engine.protocol.errors import InputError, LlamaDuoError
from engine.settings.local import Finetune

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}
"""The module of each tracker, which is what pip calls it, too."""


def missing_packages(finetune: Finetune) -> Iterator[LlamaDuoError]:
    """The problem of each package that the settings name and that is not installed."""
    for name in finetune.report_to:
        if find_spec(_PACKAGES[name]) is None:
            yield InputError(f"finetune.report_to: {name} is not installed", f"pip install {_PACKAGES[name]}")
    if finetune.attention == "flash_attention_2" and find_spec("flash_attn") is None:
        yield InputError(
            "finetune.attention: flash-attn is not installed",
            "pip install flash-attn --no-build-isolation, which needs CUDA; or set finetune.attention to auto",
        )


@dataclass(frozen=True, slots=True)
class SplitLengths:
    """The tokens of the train and the dev pairs, as training counts them."""

    train: Lengths
    dev: Lengths

    @property
    def longest(self) -> int:
        """The tokens of the longest pair."""
        return max(self.train.longest, self.dev.longest)

    def problems(self, max_length: int) -> Iterator[LlamaDuoError]:
        """The problem that no pair is left to train on, if so."""
        if self.train.too_long == self.train.pairs:
            yield InputError(
                f"no pair to train on: all {self.train.pairs:,} are longer than {max_length:,} tokens",
                f"raise finetune.max_length: the longest has {self.train.longest:,}",
            )

    def notes(self, max_length: int) -> Iterator[str]:
        """How many pairs of each split are left out, and what follows."""
        for name, found in (("train", self.train), ("dev", self.dev)):
            if found.refused:
                yield f"{name}: {number_of(found.refused, 'pair')} left out of training, the first is {found.reason}"
        splits = [(name, found.too_long, found.pairs) for name, found in (("train", self.train), ("dev", self.dev))]
        if dropped := too_long(splits, max_length, exact=self.train.exact and self.dev.exact):
            yield f"{dropped} and left out; the longest has {self.longest:,}: see finetune.max_length"
        if self.dev.too_long == self.dev.pairs:
            yield "no dev pair is short enough to measure the dev loss, so training cannot tell when to stop"


def measure_splits(tokenizer: PreTrainedTokenizerBase, splits: Splits, max_length: int) -> SplitLengths:
    """The lengths of both splits. Raises InputError where the model's chat template does not support a pair."""
    return SplitLengths(measure(tokenizer, splits.train, max_length), measure(tokenizer, splits.dev, max_length))
