"""How probable a model found each token that it generated, which later tells how sure it was of an answer."""

from __future__ import annotations

import torch
from transformers import LogitsProcessor


class LogProbs(LogitsProcessor):  # type: ignore[misc]
    """The log-probability of each generated token under the model's own distribution, before the temperature.

    `generate` applies it ahead of the temperature and gets the logits back unchanged, so the answers are the same with
    and without it. It keeps one step's logits, never those of all steps: a vocabulary is large.
    """

    def __init__(self) -> None:
        self._logits = torch.empty(0)
        self._chosen: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        self._logits = scores
        return scores

    def choose(self, tokens: torch.Tensor) -> None:
        """Note the tokens, shape (batch), that were drawn from the logits seen last."""
        drawn = self._logits.gather(1, tokens[:, None]).squeeze(1)
        self._chosen.append(drawn - torch.logsumexp(self._logits, dim=1))

    def rows(self) -> list[list[float]]:
        """A row for each sequence of the batch: its log-probabilities, those of its padding at the end included."""
        return torch.stack(self._chosen, dim=1).tolist()
