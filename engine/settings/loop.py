"""The tables [target], [synthesis] and [loop]: what to reach, the new pairs after a round, and when the loop ends."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.protocol.limits import LONGEST_S, MOST_PAIRS, MOST_ROWS
from engine.settings.table import Table

Score = Annotated[float, Field(ge=1.0, le=100.0)]


class Target(Table):
    """When the local LLM is good enough."""

    precision: Score = Field(85.0, description="Mean precision to reach on the sealed prompts.")
    similarity: Score = Field(75.0, description="Mean similarity to reach on the sealed prompts.")
    confidence: float = Field(
        0.95, ge=0.5, lt=1, description="Confidence of the lower bounds on the sealed prompts, which decide."
    )
    teacher: bool = Field(
        True, description="Also score the service's own new responses to the dev and test prompts: the ceiling."
    )
    relative_to_teacher: float | None = Field(
        None,
        ge=0,
        lt=99,
        description="Instead of the two scores above: allowed points below the service's own scores.",
    )
    max_regressed: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Share of dev prompts that may get surely worse than in the best earlier round; not set: any.",
    )

    @model_validator(mode="after")
    def _scores_the_teacher(self) -> Target:
        if self.relative_to_teacher is not None and not self.teacher:
            raise ValueError("relative_to_teacher needs teacher = true")
        return self


class Synthesis(Table):
    """The new pairs that the service writes after a round that misses the target."""

    pairs_per_round: int = Field(200, ge=1, le=MOST_PAIRS, description="Pairs to add per round.")
    pairs_per_call: int = Field(5, ge=1, le=50, description="Pairs to request per call.")
    strategy: Literal["failures", "uniform"] = Field(
        "failures",
        description="failures: model new pairs on prompts that the local LLM gets wrong; uniform: on all alike.",
    )
    min_score: Score | None = Field(
        None, description="Judge each new pair, and keep those that score this or more; not set: no judging."
    )
    review: bool = Field(False, description="Wait for a person to review new pairs before training on them.")
    duplicate_prompt: float = Field(
        0.9, ge=0.5, le=1, description="Refuse a new pair if its prompt is this similar to a known one (Jaccard)."
    )
    duplicate_response: float = Field(
        0.9, ge=0.5, le=1, description="Refuse a new pair if its response is this similar to a known one (Jaccard)."
    )
    duplicate_response_words: int = Field(
        50,
        ge=1,
        le=MOST_ROWS,
        description="Responses below this length may repeat, as labels, JSON and stock phrases do.",
    )
    contamination: float = Field(
        0.65,
        ge=0.3,
        le=1,
        description="Refuse a new pair that contains this share of a dev or test prompt, reworded or not.",
    )


class Loop(Table):
    """When the loop continues, and when it stops."""

    max_rounds: int = Field(4, ge=1, le=100, description="Maximum rounds of fine-tuning.")
    patience: int = Field(2, ge=1, le=100, description="Rounds without a gain after which the loop stops.")
    min_gain: float = Field(
        1.0, ge=0, le=100, description="Increase of the mean score, in points, that counts as a gain."
    )
    approval: Literal["ask", "auto"] = Field(
        "ask", description="ask: a person approves each synthesis; auto: it starts at once."
    )
    max_hours: float | None = Field(
        None, gt=0, le=LONGEST_S / 3600, description="Start no further round after this many hours of work."
    )
    seed: int = Field(42, ge=0, lt=2**32, description="Random seed of the run.")
