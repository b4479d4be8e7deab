"""From verdicts to a decision: pure functions, no files, no clock."""

from engine.evaluation.advice import Advice
from engine.evaluation.comparison import Change, Changes, Teacher, changes, gaps
from engine.evaluation.decision import (
    Decision,
    Next,
    Outcome,
    decide,
    decision_from_row,
    fewest_prompts,
    finished,
    look_risk,
    looks,
)
from engine.evaluation.intervals import Interval
from engine.evaluation.scores import LEAST_PROMPTS, Scores, best, by_prompt, score
from engine.protocol.decision import GroupScore, PromptScore

__all__ = [
    "LEAST_PROMPTS",
    "Advice",
    "Change",
    "Changes",
    "Decision",
    "GroupScore",
    "Interval",
    "Next",
    "Outcome",
    "PromptScore",
    "Scores",
    "Teacher",
    "best",
    "by_prompt",
    "changes",
    "decide",
    "decision_from_row",
    "fewest_prompts",
    "finished",
    "gaps",
    "look_risk",
    "looks",
    "score",
]
