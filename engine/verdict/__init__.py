"""From verdicts to a decision: pure functions, no files, no clock."""

from engine.intervals import Interval
from engine.verdict.advice import Advice
from engine.verdict.decision import (
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
from engine.verdict.paired import Change, Changes, Teacher, changes, gaps
from engine.verdict.scores import LEAST_PROMPTS, GroupScore, PromptScore, Scores, best, by_prompt, score

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
