"""What is done with a step's logits: how probable the chosen token is, which later tells how sure the model was, and
the draw of a token at a temperature."""

from __future__ import annotations

import torch
from transformers import LogitsProcessor


class LogProbs(LogitsProcessor):  # type: ignore[misc]
    """The log-probability of each generated token under the model's own distribution, before the temperature.

    `generate` applies it ahead of a draw and gets the logits back unchanged, so the answers are the same with and
    without it. It keeps one step's logits, never those of all steps: a vocabulary is large.
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


class Draw(LogitsProcessor):  # type: ignore[misc]
    """Draws a token for each sequence and leaves only this one to choose.

    It inverts the distribution function: one random number a sequence. `generate` would draw one for each token of the
    vocabulary, which on a processor takes a fifth of the time.
    """

    def __init__(self, temperature: float) -> None:
        self._temperature = temperature

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        weights = torch.softmax(scores.float() / self._temperature, dim=1)
        below = weights.cumsum(dim=1, dtype=torch.float64)
        place = torch.rand(len(scores), 1, dtype=torch.float64, device=scores.device) * below[:, -1:]
        token = torch.searchsorted(below, place, right=True).clamp_(max=scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, token, 0.0)  # type: ignore[return-value]
